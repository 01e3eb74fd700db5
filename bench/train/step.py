"""One optimisation step of a stack, eager or captured: everything in it happens on the device.

    draw a batch → forward → loss of each member → backward → clip, Adam, meters, step + 1

A stack of one computes with its model as it is. In a larger one, `torch.func.vmap` runs the same model over
all members' parameters at once: the operators of `bench.kernels` take the stack as one more dimension.
Members of one task and one seed share their prompts.

The host neither waits nor looks: the meters are device tensors that `bench.train.loop` reads every few
hundred steps. On CUDA the whole step is captured once and replayed (`capture`), because every shape in it is
static and the step counter it depends on lives on the device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from bench.models.backbone import Model
from bench.run import Run
from bench.stack import Stack
from bench.tasks.draws import Draws
from bench.tasks.task import Prompts
from bench.train.meters import Meters
from bench.train.optimizer import StackOptimizer
from bench.train.parameters import Parameters

if TYPE_CHECKING:
    from bench.train.parallel import Group


@dataclass
class State:
    """Everything that training changes; a checkpoint is exactly this and the host's notes.

    Attributes:
        stack: the runs that are trained.
        model: the module that all members compute with; it holds the parameters of a stack of one.
        parameters: of all members, with Adam's moments.
        optimizer: updates them.
        step: optimisation steps done, int64 scalar on the device.
        meters: of all members.
    """

    stack: Stack
    model: Model
    parameters: Parameters
    optimizer: StackOptimizer
    step: Tensor
    meters: Meters

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor that a step overwrites, by name."""
        parameters = self.parameters
        return {
            "values": parameters.values,
            "first_moment": parameters.first_moment,
            "second_moment": parameters.second_moment,
            "step": self.step,
            **vars(self.meters),
        }


@dataclass
class StackPredictor:
    """Predictions of a stack's members (`bench.train.evaluate.Predictor`).

    All members predict at once what all of them are asked about; what only one of them is asked, as when a
    model reads its own predictions, it predicts by itself.
    """

    state: State
    shared: Tensor | None = None
    outputs: Tensor | None = None

    def share(self, tokens: Tensor) -> None:
        """Say that every member will be asked about `tokens`."""
        self.shared, self.outputs = tokens, None

    def predict(self, member: int, tokens: Tensor) -> Tensor:
        """Outputs (B, L, n_outputs) of one member."""
        state = self.state
        if len(state.stack) == 1:
            outputs: Tensor = state.model(tokens)
            return outputs
        if tokens is not self.shared:
            return _predict(state.model, state.parameters.of_member(member), tokens)
        if self.outputs is None:
            self.outputs = _predict_all(state, tokens, None)
        return self.outputs[member]


def _predict_all(state: State, tokens: Tensor, dim: int | None) -> Tensor:
    """Outputs (K, B, L, n_outputs) of all members; dimension `dim` of the tokens counts members."""
    names = state.parameters.names

    def predict(leaves: list[Tensor], tokens: Tensor) -> Tensor:
        return _predict(state.model, dict(zip(names, leaves, strict=True)), tokens)

    outputs: Tensor = vmap(predict, in_dims=(0, dim), randomness="different")(state.parameters.leaves, tokens)
    return outputs


def _predict(model: Model, parameters: dict[str, Tensor], tokens: Tensor) -> Tensor:
    outputs: Tensor = functional_call(model, parameters, (tokens,))
    return outputs


def initial_state(stack: Stack, device: torch.device, scan: str) -> State:
    """Freshly initialised models and their optimiser.

    Each member's parameters are drawn on the CPU from a generator seeded by its `seed`, so that every device
    and every stack starts from the same numbers; the caller's random state is left as it was.
    """
    models = [_initial_model(run, scan) for run in stack.members]
    model = models[0].to(device).train()
    parameters = Parameters.of(models, device)
    step = torch.zeros((), dtype=torch.int64, device=device)
    meters = Meters.new(len(stack), device)
    return State(
        stack, model, parameters, StackOptimizer(stack, parameters, meters, step, scan), step, meters
    )


def _initial_model(run: Run, scan: str) -> Model:
    task = run.task
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        return Model(
            run.architecture,
            run.size,
            n_inputs=task.n_inputs,
            n_outputs=task.n_outputs,
            length=task.length(task.n_points),
            scan=scan,
        )


def eager_step(state: State, group: Group | None = None) -> Callable[[], None]:
    """The step, as ordinary PyTorch; with a group, this process computes its rows of the batch."""
    leaves = state.parameters.leaves
    streams = _streams(state.stack)

    def gradients_of(loss: Tensor) -> list[Tensor]:
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
        pairs = zip(gradients, leaves, strict=True)
        return [torch.zeros_like(leaf) if gradient is None else gradient for gradient, leaf in pairs]

    def step() -> None:
        run = state.stack.first
        if group is not None:
            rows = group.rows(run.task.batch(Draws(run.seed, "train", state.step), run.batch_size))
            total, count = run.task.loss_sum(state.model(rows.tokens), rows, state.step)
            gradients = gradients_of(total)
            losses = group.average(gradients, total, count).view(1)
        elif len(state.stack) == 1:
            prompts = run.task.batch(Draws(run.seed, "train", state.step), run.batch_size)
            losses = run.task.loss(state.model(prompts.tokens), prompts, state.step).view(1)
            gradients = gradients_of(losses)
        else:
            losses = _stacked_losses(state, streams)
            gradients = gradients_of(losses.sum())  # no member's loss depends on another's parameters
        state.optimizer(gradients, losses.detach())

    return step


@dataclass(frozen=True)
class _Stream:
    """Members that train on the same prompts: those of one task and one seed."""

    first: Run
    members: int


def _streams(stack: Stack) -> list[_Stream]:
    together = groupby(stack.members, key=lambda run: (run.task_id, run.seed))
    runs = [list(members) for _, members in together]
    return [_Stream(members[0], len(members)) for members in runs]


def _stacked_losses(state: State, streams: list[_Stream]) -> Tensor:
    """The training loss of every member, (K,)."""
    batches = [
        stream.first.task.batch(Draws(stream.first.seed, "train", state.step), stream.first.batch_size)
        for stream in streams
    ]
    shared = len(streams) == 1
    tokens = batches[0].tokens if shared else _for_members([b.tokens for b in batches], streams)
    outputs = _predict_all(state, tokens, None if shared else 0)
    losses, begin = [], 0
    # Streams of one task differ in their seed only: one loss for all of them.
    for _, group in groupby(range(len(streams)), key=lambda index: streams[index].first.task_id):
        indices = list(group)
        own = [streams[index] for index in indices]
        end = begin + sum(stream.members for stream in own)
        prompts = _joined([batches[index] for index in indices], own)
        losses.append(_losses(own[0].first, outputs[begin:end], prompts, len(own) == 1, state.step))
        begin = end
    return torch.cat(losses) if len(losses) > 1 else losses[0]


def _for_members(values: list[Tensor], streams: list[_Stream]) -> Tensor:
    """One tensor per stream → one per member, stacked."""
    return torch.stack(
        [value for value, stream in zip(values, streams, strict=True) for _ in range(stream.members)]
    )


def _joined(batches: list[Prompts], streams: list[_Stream]) -> Prompts:
    """Prompts of several streams, with their members in front; those of one stream as they are."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    return Prompts(
        _for_members([b.tokens for b in batches], streams),
        _for_members([b.targets for b in batches], streams),
        _for_members([b.inputs for b in batches], streams),
        None
        if first.counted is None
        else _for_members([b.counted for b in batches if b.counted is not None], streams),
        {name: _for_members([b.more[name] for b in batches], streams) for name in first.more},
    )


def _losses(run: Run, outputs: Tensor, prompts: Prompts, shared: bool, step: Tensor) -> Tensor:
    """Losses (members,) from outputs (members, B, L, n_outputs) and prompts, shared or per member."""
    dim = None if shared else 0

    def loss(
        outputs: Tensor, tokens: Tensor, targets: Tensor, inputs: Tensor, counted: Any, more: Any
    ) -> Tensor:
        return run.task.loss(outputs, Prompts(tokens, targets, inputs, counted, more), step)

    more = dict(prompts.more)
    dims = (0, dim, dim, dim, None if prompts.counted is None else dim, dict.fromkeys(more, dim))
    values: Tensor = vmap(loss, in_dims=dims)(
        outputs, prompts.tokens, prompts.targets, prompts.inputs, prompts.counted, more
    )
    return values


def captured_step(state: State, group: Group | None = None) -> Callable[[], None]:
    """The same step as one CUDA graph, replayed.

    Capture needs a few warm-up steps, for libraries to choose their kernels and allocate. They
    train: afterwards the state and the random generator are put back as they were.
    """
    step, device = eager_step(state, group), state.step.device
    before = {name: tensor.detach().clone() for name, tensor in state.tensors().items()}
    generator = torch.cuda.get_rng_state(device)
    side = _side_stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # NCCL's own threads go on asking the device for news: only this thread is held to the rules of capture.
    mode = "global" if group is None else "thread_local"
    with torch.cuda.graph(graph, stream=side, capture_error_mode=mode):
        step()
    state.optimizer.update.bind()
    with torch.no_grad():
        for name, tensor in state.tensors().items():
            tensor.copy_(before[name])
    torch.cuda.set_rng_state(generator, device)
    return graph.replay


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Where steps are captured: one for the process, as cuBLAS keeps a workspace for every stream it saw."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
