"""The optimisation step of a stack. All of it runs on the device.

    draw a batch → forward → loss of each member → backward → clip, Adam, meters, step + 1

A stack of one runs its model as it is. For a larger stack, `torch.func.vmap` runs the model over the
parameters of all members at once; the operators of `bench.kernels` take the stack as a leading dimension.

The host never waits within a step: the meters are device tensors, which `bench.train.loop` reads every few
hundred steps. On CUDA the whole step is captured and replayed (`bench.train.capture`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.func import vmap

from bench.kernels.branches import Branch, backward_pass
from bench.kernels.operators import mark_final
from bench.models.dropout import DropoutModule, masks
from bench.run import Run
from bench.tasks.draws import Draws
from bench.tasks.task import Prompts
from bench.train.batches import TaskMembers, batch_lengths, members_by_task, training_batch
from bench.train.predictions import predict_all
from bench.train.state import State

if TYPE_CHECKING:
    from bench.train.parallel import Group

COUNTING = 2
"""The branch of the weights of a batch's points. Operators within the model have others."""


def eager_step(state: State, group: Group | None = None) -> Callable[[], None]:
    """The step as ordinary PyTorch. With a group, this process computes its rows of the batch only."""
    step, lengths = step_by_length(state, group), batch_lengths(state)
    return lambda: step(next(lengths))


def step_by_length(state: State, group: Group | None) -> Callable[[int], None]:
    """The step as a function of the length of its batch.

    Raises:
        ValueError: the run carries states from step to step, and there is a group.
    """
    if group is not None and state.carried:  # a carried state needs all rows in one process
        raise ValueError("a model that carries its state from step to step trains in one process")
    by_task, mask_keys = members_by_task(state), _mask_keys(state)

    def step(length: int) -> None:
        if group is not None:
            result = _spread_pass(state, group, length)
        elif len(state.stack) == 1:
            result = _single_pass(state, mask_keys(), length)
        else:
            result = _stacked_pass(state, by_task, mask_keys(), length)
        if state.point_losses is not None:
            state.point_losses.add_(torch.stack((result.sums.detach(), result.counts)))
        state.optimizer(result.gradients, result.losses.detach())

    return step


def _mask_keys(state: State) -> Callable[[], Tensor | None]:
    """A function to the keys of the members' dropout masks at the current step, (K, 3); None without dropout.

    `bench.kernels.dropout` defines the keys.
    """
    if not any(module.p > 0 for module in state.model.modules() if isinstance(module, DropoutModule)):
        return lambda: None
    # Copied to the device now, because a capture allows no copy from the host.
    seeds = torch.tensor(
        [Draws(run.seed, "dropout", state.step).keys("mask") for run in state.stack.members],
        device=state.step.device,
    )
    return lambda: torch.cat((seeds, state.step.expand(len(seeds), 1)), dim=1)


class _Pass(NamedTuple):
    """A pass forward and backward.

    Attributes:
        losses: of the members, (K,).
        sums: sums of the losses of the points that count, (K,).
        counts: numbers of these points, (K,).
        gradients: of the members' losses, one tensor for each of the stack's parameters.
    """

    losses: Tensor
    sums: Tensor
    counts: Tensor
    gradients: list[Tensor]


def _spread_pass(state: State, group: Group, length: int) -> _Pass:
    """A run that is spread over processes: this one's rows, then sums and means over all processes."""
    run = state.stack.first
    rows = group.rows(training_batch(run, Draws(run.seed, "train", state.step), length))
    total, count = run.task.loss_sum(state.model(rows.tokens), rows, state.step)
    gradients = _gradients(total, state)
    sums, counts = (value.view(1) for value in group.average(gradients, total, count))
    return _Pass(sums / counts.clamp(min=1.0), sums, counts, gradients)


def _single_pass(state: State, mask_keys: Tensor | None, length: int) -> _Pass:
    """A stack of one."""
    run = state.stack.first
    prompts = training_batch(run, Draws(run.seed, "train", state.step), length)
    if state.carried:
        goes_on = state.step % (run.task.windows_per_stream(run.batch_size) or 1) != 0
        for carried in state.carried:
            carried.mul_(goes_on)
    counting = Branch(state.step, COUNTING)
    with counting:  # runs beside the model, because a small model's step consists of many short kernels
        weights = run.task.loss_weights(prompts, state.step)
    with masks(None if mask_keys is None else mask_keys[0]):
        outputs = state.model(prompts.tokens)
    counting.join()
    sums, counts = (value.view(1) for value in run.task.loss_sum(outputs, prompts, state.step, weights))
    losses = sums / counts.clamp(min=1.0)
    return _Pass(losses, sums, counts, _gradients(losses, state))


def _stacked_pass(state: State, by_task: list[TaskMembers], mask_keys: Tensor | None, length: int) -> _Pass:
    """All members of a larger stack at once."""
    sums, counts = _stacked_losses(state, by_task, length, mask_keys)
    losses = sums / counts.clamp(min=1.0)
    # ∂(Σ losses)/∂θ_k = ∂ loss_k/∂θ_k, because no loss depends on another member's parameters.
    return _Pass(losses, sums, counts, _gradients(losses.sum(), state))


def _gradients(loss: Tensor, state: State) -> list[Tensor]:
    """Gradients of a loss by the parameters of all members."""
    leaves = state.parameters.leaves
    if loss.is_cuda and len(state.stack) == 1:  # a larger stack fills the GPU; `vmap` hides its operators
        mark_final(loss)
    with backward_pass():
        gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    # A user's block may have parameters that no output depends on. Their gradient is zero.
    pairs = zip(gradients, leaves, strict=True)
    return [torch.zeros_like(leaf) if gradient is None else gradient for gradient, leaf in pairs]


def _stacked_losses(
    state: State, by_task: list[TaskMembers], length: int, mask_keys: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sums and numbers of the losses of every member (`Task.loss_sum`), (K,), in the order of the stack."""
    batches = [members.prompts(length) for members in by_task]
    if len(by_task) == 1:
        # vmap broadcasts prompts of a single seed, so they are not copied for every member.
        outputs = predict_all(state, batches[0].tokens, None if by_task[0].share_prompts else 0, mask_keys)
    else:
        tokens = [
            prompts.tokens.expand(members.count, *prompts.tokens.shape)
            if members.share_prompts
            else prompts.tokens
            for members, prompts in zip(by_task, batches, strict=True)
        ]
        outputs = predict_all(state, torch.cat(tokens), 0, mask_keys)
    losses, begin = [], 0
    for members, prompts in zip(by_task, batches, strict=True):
        of_task = outputs[begin : begin + members.count]
        losses.append(_losses(members.run, of_task, prompts, members.share_prompts, state.step))
        begin += members.count
    sums, counts = (torch.cat(values) for values in zip(*losses, strict=True))
    return sums, counts


def _losses(run: Run, outputs: Tensor, prompts: Prompts, shared: bool, step: Tensor) -> tuple[Tensor, Tensor]:
    """Sums and numbers of losses (members,) of outputs (members, B, L, n_outputs).

    The prompts are `shared` by all members, or have a dimension of members in front.
    """
    dim = None if shared else 0

    def loss(
        outputs: Tensor, tokens: Tensor, targets: Tensor, inputs: Tensor, counted: Any, more: Any
    ) -> tuple[Tensor, Tensor]:
        return run.task.loss_sum(outputs, Prompts(tokens, targets, inputs, counted, more), step)

    more = dict(prompts.more)
    dims = (0, dim, dim, dim, None if prompts.counted is None else dim, dict.fromkeys(more, dim))
    sums, counts = vmap(loss, in_dims=dims)(
        outputs, prompts.tokens, prompts.targets, prompts.inputs, prompts.counted, more
    )
    return sums, counts
