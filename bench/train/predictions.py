"""Outputs of a stack's members: of all at once, in training and in evaluation, or of one."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor
from torch.func import functional_call, vmap

from bench.models.backbone import Model
from bench.models.dropout import masks
from bench.train.state import State


@dataclass
class StackPredictor:
    """Predictions of a stack's members (`bench.train.evaluate.Predictor`).

    The outputs of all members for shared tokens, or for a part of them, are computed at once, when the first
    member asks for them. Other tokens are computed for a single member, as when a model reads its own
    predictions.
    """

    state: State
    shared: Tensor | None = None
    outputs: dict[tuple[object, ...], Tensor] = field(default_factory=dict)

    def share(self, tokens: Tensor) -> None:
        """Announce tokens (B, L, n_inputs) that every member will predict."""
        self.shared, self.outputs = tokens, {}

    def predict(self, member: int, tokens: Tensor) -> Tensor:
        """Outputs (B, L, n_outputs) of a member for tokens (B, L, n_inputs)."""
        state = self.state
        if len(state.stack) == 1:
            outputs: Tensor = state.model(tokens)
            return outputs
        # Compare addresses, because a comparison of values would make the host wait for the device.
        if self.shared is None or _memory(tokens) != _memory(self.shared):
            return _predict(state.model, state.parameters.of_member(member), tokens)
        place = (tokens.storage_offset(), tokens.shape, tokens.stride())
        if place not in self.outputs:
            self.outputs[place] = predict_all(state, tokens, None)
        return self.outputs[place][member]


def _memory(tensor: Tensor) -> int:
    """The address at which the memory begins of which a tensor is a view."""
    return tensor.untyped_storage().data_ptr()


def predict_all(state: State, tokens: Tensor, dim: int | None, mask_keys: Tensor | None = None) -> Tensor:
    """Outputs (K, B, L, n_outputs) of all members.

    Args:
        state: the stack.
        tokens: (B, L, n_inputs) if `dim` is None, for all members; else with a dimension of size K at `dim`.
        dim: the tokens' dimension of members.
        mask_keys: keys of the members' dropout masks, (K, 3), in training.
    """
    names = state.parameters.names

    def predict(leaves: list[Tensor], tokens: Tensor, mask_key: Tensor | None) -> Tensor:
        with masks(mask_key):
            return _predict(state.model, dict(zip(names, leaves, strict=True)), tokens)

    # "different": a module that draws from PyTorch's generator draws separately for every member.
    run = vmap(predict, in_dims=(0, dim, None if mask_keys is None else 0), randomness="different")
    outputs: Tensor = run(state.parameters.leaves, tokens, mask_keys)
    return outputs


def _predict(model: Model, parameters: dict[str, Tensor], tokens: Tensor) -> Tensor:
    outputs: Tensor = functional_call(model, parameters, (tokens,))
    return outputs
