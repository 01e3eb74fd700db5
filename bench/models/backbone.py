"""The PyTorch model of every architecture: read-in, residual blocks after norms, read-out.

    h = read_in(tokens) [+ positions]       with dropout, if the architecture has it
    h = h + block(norm(h))                  for every block of the pattern
    outputs = read_out(norm(h))

A model of discrete tokens reads in by an embedding. If the model is tied, it also reads out by the embedding.
A plain stack (`residual: false`) applies block after block, without residuals or norms. A model whose blocks
all read the embedding (`block_input: embedding`) consists of its last mixer alone.

Each module initialises its own parameters, and the backbone never re-initialises a block's parameters. The
parameters of the backbone have PyTorch's defaults (norms with weights 1 and biases 0, uniform read-in and
read-out), except the positions.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from bench.kernels.normalization import norms
from bench.models.architecture import Architecture
from bench.models.dropout import DropoutModule
from bench.models.embedding import Embedding
from bench.models.linear import GPT2_STD, Linear
from bench.models.mixers.block import Place
from bench.models.sizes import Size


class Model(nn.Module):
    """Tokens (B, L, n_inputs) → outputs (B, L, n_outputs). Output t depends only on tokens up to t.

    With discrete tokens: ids (B, L) int64 → logits (B, L, n_outputs). An option of a block can make a model
    that is not causal (`Architecture.causal`).

    Args:
        architecture: the pattern of blocks.
        size: layers, nominal width, heads.
        n_inputs: width of a token. If several kinds of tokens alternate, the width of each kind, in order.
        n_outputs: width of an output.
        length: the longest prompt, in tokens.
        backend: name of the kernels' backend (`bench.kernels.backends.NAMES`).
        discrete: whether tokens are ids below `n_inputs`.
    """

    def __init__(
        self,
        architecture: Architecture,
        size: Size,
        *,
        n_inputs: int | tuple[int, ...],
        n_outputs: int,
        length: int,
        backend: str = "sequential",
        discrete: bool = False,
    ) -> None:
        super().__init__()
        width = architecture.actual_width(size.width)
        table = None if architecture.is_one_mixer else architecture.positions
        self.tied = discrete and architecture.tied
        self.read_in = _read_in(n_inputs, width, discrete, table.std if table else GPT2_STD, backend)
        self.positions = (
            learned_positions(architecture.position_rows(length), width, table.std) if table else None
        )
        dropout = 0.0 if architecture.is_one_mixer else architecture.embedding_dropout
        self.embedding_dropout = DropoutModule(dropout, 0, backend)
        self.passed_on: dict[str, Tensor] = {}
        self.blocks = nn.ModuleList(
            block.build(
                Place(
                    width=width,
                    heads=size.heads or 1,
                    layers=size.layers,
                    blocks=len(architecture.layer) * size.layers,
                    index=index,
                    backend=backend,
                    passed_on=self.passed_on,
                )
            )
            for index, block in enumerate(architecture.blocks(size.layers))
        )
        self.causal = architecture.causal
        self.has_norms = architecture.has_norms
        if self.has_norms:
            kind = nn.RMSNorm if architecture.norm == "rms" else nn.LayerNorm
            self.norms = nn.ModuleList(kind(width) for _ in self.blocks)
            self.final_norm = kind(width)
            self.norm, self.add_norm, self.norm_of_sum = norms(architecture.norm, backend)
        if not self.tied:
            self.read_out = Linear(width, n_outputs, backend)

    def forward(self, tokens: Tensor) -> Tensor:
        h = self.read_in(tokens)
        if self.positions is not None:
            h = h + self.positions[: tokens.shape[1]]
        h = self.embedding_dropout(h)
        if self.has_norms:
            h = self._residual_blocks(h)
        else:
            for block in self.blocks:
                h = block(h)
        self.passed_on.clear()
        read_out = cast("Embedding", self.read_in).logits if self.tied else self.read_out
        outputs: Tensor = read_out(h)
        return outputs

    def _residual_blocks(self, h: Tensor) -> Tensor:
        """All blocks and the final norm, (B, L, D) → (B, L, D)."""
        weights = [tuple(norm.parameters()) for norm in (*self.norms, self.final_norm)]
        # A residual addition and the norm after it are one kernel: h is read and written once instead of
        # twice. So the loop is shifted by one: `normed` is the input of the next block.
        normed = self.norm(h, *weights[0])
        for block, next_weights in zip(self.blocks[:-1], weights[1:-1], strict=True):
            h, normed = self.add_norm(h, block(normed), *next_weights)
        outputs: Tensor = self.norm_of_sum(h, self.blocks[-1](normed), *weights[-1])
        return outputs


def _read_in(
    n_inputs: int | tuple[int, ...], width: int, discrete: bool, embedding_std: float, backend: str
) -> nn.Module:
    """The module from tokens to (B, L, D): a linear map, one for each kind of token, or an embedding."""
    if not isinstance(n_inputs, int):
        return ReadIns(n_inputs, width, backend)
    return (
        Embedding(n_inputs, width, embedding_std, backend) if discrete else Linear(n_inputs, width, backend)
    )


class ReadIns(nn.Module):
    """A linear map for each kind of token, (B, L, largest of `widths`) → (B, L, D). Kinds alternate.

    Args:
        widths: width of each kind, in the order of the tokens. Narrower tokens are padded with zeros.
        width: D.
        backend: name of the kernels' backend.
    """

    def __init__(self, widths: tuple[int, ...], width: int, backend: str) -> None:
        super().__init__()
        self.widths = widths
        self.maps = nn.ModuleList(Linear(kind, width, backend) for kind in widths)

    def forward(self, tokens: Tensor) -> Tensor:
        B, L, _ = tokens.shape
        kinds = len(self.widths)
        points = -(-L // kinds)  # the last point may lack tokens
        whole = nn.functional.pad(tokens, (0, 0, 0, points * kinds - L)).view(B, points, kinds, -1)
        read = [map(whole[:, :, i, : self.widths[i]]) for i, map in enumerate(self.maps)]
        return torch.stack(read, dim=2).view(B, points * kinds, -1)[:, :L]


def learned_positions(rows: int, width: int, std: float) -> nn.Parameter:
    """A trainable table of positions, (rows, width), drawn from N(0, std²)."""
    return nn.Parameter(torch.randn(rows, width) * std)
