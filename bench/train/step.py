"""One optimisation step, eager or captured: everything in it happens on the device.

    draw a batch → forward → loss → backward → clip → Adam → add to the meters → step + 1

The host neither waits nor looks: the meters are device scalars that `bench.train.loop` reads every
few hundred steps. On CUDA the whole step is captured once and replayed (`capture`), because every
shape in it is static and the step counter it depends on lives on the device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.models.backbone import Model
from bench.run import Run
from bench.tasks.draws import Draws
from bench.train.optimizer import build_optimizer, set_learning_rate

if TYPE_CHECKING:
    from bench.train.parallel import Group


@dataclass
class Meters:
    """What is remembered of the steps since the host last took a reading (device scalars)."""

    loss_sum: Tensor
    gradient_norm_max: Tensor
    first_bad_step: Tensor
    """First step whose loss or gradient norm was not finite; −1 while there is none."""

    @classmethod
    def new(cls, device: torch.device) -> Meters:
        return cls(
            loss_sum=torch.zeros((), dtype=torch.float64, device=device),
            gradient_norm_max=torch.zeros((), device=device),
            first_bad_step=torch.full((), -1, dtype=torch.int64, device=device),
        )

    def add(self, loss: Tensor, gradient_norm: Tensor, step: Tensor) -> None:
        self.loss_sum += loss
        self.gradient_norm_max.copy_(torch.maximum(self.gradient_norm_max, gradient_norm))
        bad = ~(torch.isfinite(loss) & torch.isfinite(gradient_norm)) & (self.first_bad_step < 0)
        self.first_bad_step.copy_(torch.where(bad, step, self.first_bad_step))

    def reset(self) -> None:
        self.loss_sum.zero_()
        self.gradient_norm_max.zero_()


@dataclass
class State:
    """Everything that training changes; a checkpoint is exactly this and the host's notes."""

    model: Model
    optimizer: torch.optim.Optimizer
    step: Tensor
    """Optimisation steps done, int64 scalar on the device."""
    meters: Meters

    def tensors(self) -> list[Tensor]:
        """Every tensor that a step overwrites, in a fixed order."""
        moments = [
            value
            for parameter in self.parameters()
            for value in self.optimizer.state[parameter].values()
            if isinstance(value, Tensor)
        ]
        return [*self.parameters(), *moments, self.step, *vars(self.meters).values()]

    def parameters(self) -> list[nn.Parameter]:
        return list(self.model.parameters())


def initial_state(run: Run, device: torch.device, scan: str) -> State:
    """A freshly initialised model and optimiser.

    Parameters are drawn on the CPU from a generator seeded by `run.seed`, so that every device
    starts from the same numbers; the caller's random state is left as it was.
    """
    task = run.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        model = Model(
            run.architecture,
            run.size,
            n_inputs=task.n_inputs,
            n_outputs=task.n_outputs,
            length=task.length(task.n_points),
            scan=scan,
        )
    model.to(device).train()
    optimizer = build_optimizer(run, model.parameters(), device)
    for parameter in model.parameters():  # Adam makes its moments lazily; a graph needs them now
        optimizer.state[parameter] = {
            "step": torch.zeros((), device=device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    step = torch.zeros((), dtype=torch.int64, device=device)
    return State(model, optimizer, step, Meters.new(device))


def eager_step(run: Run, state: State, group: Group | None = None) -> Callable[[], None]:
    """The step, as ordinary PyTorch; with a group, this process computes its rows of the batch."""

    def step() -> None:
        task = run.task
        prompts = task.batch(Draws(run.seed, "train", state.step), run.batch_size)
        set_learning_rate(state.optimizer, run, state.step)
        state.optimizer.zero_grad()  # to None: the backward pass then writes gradients instead of adding them
        if group is None:
            loss = task.loss(state.model(prompts.tokens), prompts, state.step)
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            mine = group.rows(prompts)
            total, count = task.loss_sum(state.model(mine.tokens), mine, state.step)
            total.backward()  # type: ignore[no-untyped-call]
            loss = group.average(state.parameters(), total, count)
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), run.clip, foreach=True)
        state.optimizer.step()
        state.meters.add(loss.detach(), norm, state.step)
        state.step += 1

    return step


def captured_step(run: Run, state: State, group: Group | None = None) -> Callable[[], None]:
    """The same step as one CUDA graph, replayed.

    Capture needs a few warm-up steps, for libraries to choose their kernels and allocate. They
    train: afterwards the state and the random generator are put back as they were.
    """
    step = eager_step(run, state, group)
    before = [tensor.detach().clone() for tensor in state.tensors()]
    generator = torch.cuda.get_rng_state(state.step.device)
    side = _side_stream(state.step.device)
    side.wait_stream(torch.cuda.current_stream(state.step.device))
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream(state.step.device).wait_stream(side)
    state.optimizer.zero_grad()  # those of the graph are to lie in its own memory
    graph = torch.cuda.CUDAGraph()
    # NCCL's own threads go on asking the device for news: only this thread is held to the rules of capture.
    mode = "global" if group is None else "thread_local"
    with torch.cuda.graph(graph, stream=side, capture_error_mode=mode):
        step()
    with torch.no_grad():
        for tensor, value in zip(state.tensors(), before, strict=True):
            tensor.copy_(value)
    torch.cuda.set_rng_state(generator, state.step.device)
    return graph.replay


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Where steps are captured: one for the process, as cuBLAS keeps a workspace for every stream it saw."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def random_state(device: torch.device) -> Tensor:
    """State of the generator that dropout draws from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def set_random_state(device: torch.device, value: Any) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(value, device)
    else:
        torch.set_rng_state(value)
