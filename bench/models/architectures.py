"""All architectures by name: those of the paper (§5, Figure 6; A.1), then those since the paper."""

from __future__ import annotations

from typing import Any

from bench.errors import UserError
from bench.models import blocks
from bench.models.architecture import Architecture, Positions
from bench.models.blocks import (
    GLA,
    KDA,
    LSTM,
    MLP,
    MLSTM,
    RWKV7,
    S4,
    Attention,
    Dropout,
    GatedDeltaNet,
    Mamba,
    Mamba2,
    Mamba3,
    RWKV7ChannelMix,
    S4Mamba,
    SwiGLU,
)

PAPER = (
    Architecture(
        name="transformer",
        title="Transformer",
        layer=(Attention(), MLP()),
        positions=Positions(rows=202, std=0.02),
    ),
    Architecture(name="mamba", title="Mamba", layer=(Mamba(), Mamba())),
    Architecture(name="s4", title="S4", layer=(S4(), S4()), width_factor=1.75),
    Architecture(name="s4_mamba", title="S4-Mamba", layer=(S4Mamba(), S4Mamba())),
    Architecture(
        name="standard_hybrid",
        title="Standard Hybrid",
        layer=(Attention(init="torch"), Mamba()),
        positions=Positions(rows=256, std=1.0),
    ),
    Architecture(
        name="mambaformer", title="MambaFormer", first=(Mamba(),), layer=(Attention(init="torch"), Mamba())
    ),
    # Table 3: the Transformer without positional encoding, and "6 Mamba blocks + 1 Standard Hybrid". The
    # hybrid layer replaces the middle two of 8 Mamba blocks. It has no positions either.
    Architecture(name="transformer_no_positions", title="Transformer without PE", layer=(Attention(), MLP())),
    Architecture(
        name="mamba_one_hybrid",
        title="6 Mamba blocks + 1 Standard Hybrid",
        layer=(Mamba(), Mamba()),
        middle=(Attention(init="torch"), Mamba()),
    ),
    # Figure 7: the Transformer with an initial Mamba block in place of positional encoding.
    Architecture(
        name="transformer_first_mamba",
        title="Transformer, first block Mamba",
        first=(Mamba(),),
        layer=(Attention(), MLP()),
    ),
    # Tables 4 and 5, the LSTM of Xie et al.: dropout before, between and after the layers; no residual,
    # and a read-out of its own.
    Architecture(
        name="lstm", title="LSTM", first=(Dropout(),), layer=(LSTM(), Dropout()), residual=False, tied=False
    ),
)
"""The architectures of the paper, in the order of its tables."""

_GDN = (GatedDeltaNet(), SwiGLU())
_KDA = (KDA(), SwiGLU())
_DELTANET = GatedDeltaNet(heads=4, expand=1, gate=False, decay=False)
LATER = (
    Architecture(
        name="transformer_plus_plus",
        title="Transformer++",
        layer=(Attention(bias=False, rotary=True), SwiGLU()),
        norm="rms",
    ),
    Architecture(name="gated_deltanet", title="Gated DeltaNet", layer=_GDN, norm="rms"),
    Architecture(name="deltanet", title="DeltaNet", layer=(_DELTANET, SwiGLU()), norm="rms"),
    # The pattern of Qwen3-Next and Kimi Linear: every fourth mixer is attention. It has no positions, because
    # the recurrent blocks provide them. A layer has 8 blocks (3:1) or 4 (1:1).
    Architecture(
        name="gdn_hybrid_3_1",
        title="Gated DeltaNet and attention, 3:1",
        layer=(*_GDN, *_GDN, *_GDN, Attention(bias=False), SwiGLU()),
        norm="rms",
    ),
    Architecture(
        name="gdn_hybrid_1_1",
        title="Gated DeltaNet and attention, 1:1",
        layer=(*_GDN, Attention(bias=False), SwiGLU()),
        norm="rms",
    ),
    # Mamba-2 and mLSTM have no other blocks, as Mamba has none. GLA and Mamba-3 alternate with SwiGLU.
    Architecture(name="mamba2", title="Mamba-2", layer=(Mamba2(), Mamba2()), norm="rms"),
    Architecture(name="mlstm", title="mLSTM", layer=(MLSTM(), MLSTM())),
    Architecture(name="gla", title="GLA", layer=(GLA(), SwiGLU()), norm="rms"),
    Architecture(name="mamba3", title="Mamba-3", layer=(Mamba3(), SwiGLU()), norm="rms"),
    Architecture(name="kda", title="KDA", layer=_KDA, norm="rms"),
    Architecture(
        name="kda_hybrid_3_1",
        title="KDA and attention, 3:1",
        layer=(*_KDA, *_KDA, *_KDA, Attention(bias=False), SwiGLU()),
        norm="rms",
    ),
    Architecture(name="rwkv7", title="RWKV-7", layer=(RWKV7(), RWKV7ChannelMix())),
)
"""Architectures since the paper."""

ARCHITECTURES: dict[str, Architecture] = {
    architecture.name: architecture
    for architecture in (*PAPER, *LATER, *vars(blocks).values())
    if isinstance(architecture, Architecture)
}
"""All architectures by name: the paper's, later ones, and those that `bench.models.blocks` imports."""


_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "none": None}


def canonical(word: str) -> str:
    """The canonical name of the variant that `word` names; `word` itself if it names no valid variant.

    `s4_mamba+dropout=0` becomes `s4_mamba+dropout=0.0`. `s4_mamba+dropout=0.1` becomes `s4_mamba`, because
    0.1 is the default.
    """
    architecture = named(word)
    return architecture.name if architecture else word


def named(word: str) -> Architecture | None:
    """The architecture or variant (`s4_mamba+dropout=0.0`) with this name; None if there is none."""
    name, *options = word.split("+")
    if name not in ARCHITECTURES or not all("=" in option for option in options):
        return None
    texts = dict(option.split("=", 1) for option in options)
    try:
        return ARCHITECTURES[name].with_options({key: _value(text) for key, text in texts.items()})
    except (UserError, ValueError):  # pydantic's ValidationError is a ValueError
        return None


def _value(text: str) -> Any:
    """The value of an option from its text in a name: a number, a boolean, None or a string."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return _WORDS.get(text.lower(), text)
