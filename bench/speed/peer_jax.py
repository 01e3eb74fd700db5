"""The same training step as a plain JAX program, for comparison: the Transformer on linear regression.

The program is a jitted `lax.scan` over steps. A stack is a `vmap` over seeds, each with its own prompts, and
over learning rates. The step lacks the curriculum's mask, which changes no shape, and the meters. This module
needs JAX.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeAlias

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch uses the GPU too

import jax
import jax.numpy as jnp

from bench.optimizers import Adam
from bench.run import Run
from bench.speed.cases import MEMBERS_PER_SEED, RATES
from bench.speed.records import failure_of

Array: TypeAlias = Any
Tree: TypeAlias = Any
PRECISIONS = {"fp32": "float32", "tf32": "tensorfloat32"}
STEPS = {"gpu": 100, "cpu": 2}
"""Steps per call."""
REPEATS = 5


def initial(run: Run, key: Array) -> Tree:
    """Initial parameters of a model."""
    task, D, layers = run.task, run.size.width, run.size.layers
    keys = iter(jax.random.split(key, 4 + 4 * layers))

    def linear(n_in: int, n_out: int) -> dict[str, Array]:
        return {"w": 0.02 * jax.random.normal(next(keys), (n_in, n_out)), "b": jnp.zeros(n_out)}

    def norm() -> dict[str, Array]:
        return {"scale": jnp.ones(D), "shift": jnp.zeros(D)}

    def block() -> dict[str, Any]:
        maps = {
            "qkv": linear(D, 3 * D),
            "out": linear(D, D),
            "up": linear(D, 4 * D),
            "down": linear(4 * D, D),
        }
        return {"norm_1": norm(), "norm_2": norm(), **maps}

    rows = run.architecture.position_rows(task.full_length)
    return {
        "read_in": linear(int(task.n_inputs), D),  # type: ignore[arg-type]
        "positions": 0.02 * jax.random.normal(next(keys), (rows, D)),
        "blocks": [block() for _ in range(layers)],
        "norm": norm(),
        "read_out": linear(D, 1),
    }


def forward(params: Tree, tokens: Array, heads: int) -> Array:
    """Tokens (B, L, d) → outputs (B, L, 1) of a GPT-2-like Transformer."""

    def linear(p: Tree, h: Array) -> Array:
        return h @ p["w"] + p["b"]

    def norm(p: Tree, h: Array) -> Array:
        centred = h - h.mean(-1, keepdims=True)
        variance = (centred**2).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + 1e-5) * p["scale"] + p["shift"]

    L = tokens.shape[1]
    causal = jnp.tril(jnp.ones((L, L), bool))
    h = linear(params["read_in"], tokens) + params["positions"][:L]
    for p in params["blocks"]:
        q, k, v = jnp.split(linear(p["qkv"], norm(p["norm_1"], h)), 3, axis=-1)
        q, k, v = (value.reshape(*value.shape[:2], heads, -1) for value in (q, k, v))
        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5
        weights = jax.nn.softmax(jnp.where(causal, logits, -jnp.inf))
        h = h + linear(p["out"], jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(h.shape))
        h = h + linear(p["down"], jax.nn.gelu(linear(p["up"], norm(p["norm_2"], h)), approximate=True))
    return linear(params["read_out"], norm(params["norm"], h))


def draw(key: Array, batch: int, points: int, dims: int) -> tuple[Array, Array]:
    """Linear-regression prompts: tokens (B, 2N, d) and targets (B, N)."""
    x_key, w_key = jax.random.split(key)
    x = jax.random.normal(x_key, (batch, points, dims))
    y = jnp.einsum("bnd,bd->bn", x, jax.random.normal(w_key, (batch, dims)))
    padded = jnp.pad(y[..., None], ((0, 0), (0, 0), (0, dims - 1)))
    return jnp.stack((x, padded), axis=2).reshape(batch, 2 * points, dims), y


def loss(params: Tree, tokens: Array, targets: Array, heads: int) -> Array:
    """Mean squared error of the outputs at the x tokens."""
    return ((forward(params, tokens, heads)[:, 0::2, 0] - targets) ** 2).mean()


def update(
    params: Tree, m: Tree, v: Tree, rate: Array, tokens: Array, targets: Array, t: Array, run: Run
) -> tuple[Tree, Tree, Tree, Array]:
    """A member's step `t` (from 1): gradient, clip by the global norm, Adam; returns the loss last."""
    adam, tree_map = run.optimizer, jax.tree_util.tree_map
    assert isinstance(adam, Adam)
    value, gradient = jax.value_and_grad(loss)(params, tokens, targets, run.size.heads)
    norm = jnp.sqrt(sum((leaf**2).sum() for leaf in jax.tree_util.tree_leaves(gradient)))
    gradient = tree_map(lambda g: g * jnp.minimum(1.0, run.clip / (norm + 1e-6)), gradient)
    m = tree_map(lambda m, g: adam.beta1 * m + (1 - adam.beta1) * g, m, gradient)
    v = tree_map(lambda v, g: adam.beta2 * v + (1 - adam.beta2) * g * g, v, gradient)
    first, second = 1 - adam.beta1**t, 1 - adam.beta2**t
    params = tree_map(
        lambda p, m, v: p - rate * (m / first) / (jnp.sqrt(v / second) + adam.epsilon), params, m, v
    )
    return params, m, v, value


def program(run: Run, members: int, steps: int) -> tuple[Callable[[Tree], tuple[Tree, Array]], Tree]:
    """A compiled function that trains `members` models for `steps` steps, and its first state.

    The function returns the next state and losses (steps, seeds, rates).
    """
    seeds = members // MEMBERS_PER_SEED if members % MEMBERS_PER_SEED == 0 else 1
    rates = jnp.array([RATES[index % len(RATES)] for index in range(members // seeds)])
    keys = jax.random.split(jax.random.PRNGKey(0), seeds)
    task = run.task
    of_rates = jax.vmap(partial(update, run=run), in_axes=(0, 0, 0, 0, None, None, None))
    of_seeds = jax.vmap(of_rates, in_axes=(0, 0, 0, None, 0, 0, None))
    prompts = jax.vmap(partial(draw, batch=run.batch_size, points=task.n_points, dims=task.n_dims))

    def step(state: Tree, _: None) -> tuple[Tree, Array]:
        params, m, v, t = state
        tokens, targets = prompts(jax.vmap(jax.random.fold_in, (0, None))(keys, t))
        params, m, v, losses = of_seeds(params, m, v, rates, tokens, targets, t + 1)
        return (params, m, v, t + 1), losses

    params = jax.vmap(lambda key: jax.vmap(lambda _: initial(run, key))(rates))(keys)
    zeros = jax.tree_util.tree_map(jnp.zeros_like, params)
    start = (params, zeros, zeros, jnp.zeros((), int))
    return jax.jit(lambda state: jax.lax.scan(step, state, None, steps)), start


def measure(run: Run, members: int) -> Mapping[str, Any]:
    """Measure a case and return a row for the record's `peers`. A failed case's row states the reason."""
    row = {
        "program": f"jax {jax.__version__}",
        "architecture": run.architecture.name,
        "layers": run.size.layers,
        "width": run.size.width,
        "length": run.task.full_length,
        "batch_size": run.batch_size,
        "precision": run.precision,
        "task": run.task.name,
        "stack": members,
        "device": jax.devices()[0].device_kind,
        "ms_per_step": None,
        "ms_per_member": None,
        "failure": None,
    }
    try:
        with jax.default_matmul_precision(PRECISIONS[run.precision]):
            ms = 1e3 * _seconds_per_step(run, members)
    except Exception as error:  # a failure concerns this case only; XLA's errors have no common class
        return {**row, "failure": failure_of(error)}
    return {**row, "ms_per_step": ms, "ms_per_member": ms / members}


def _seconds_per_step(run: Run, members: int) -> float:
    steps = STEPS.get(jax.default_backend(), STEPS["gpu"])
    train, state = program(run, members, steps)
    state, _ = jax.block_until_ready(train(state))  # compiles
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        state, _ = jax.block_until_ready(train(state))
        times.append(time.perf_counter() - began)
    return statistics.median(times) / steps
