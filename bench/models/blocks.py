"""All block classes. Architectures are patterns of them; a plugin's own block derives from `Block`."""

from bench.models.mixers.attention import Attention
from bench.models.mixers.block import Block, Place
from bench.models.mixers.dropout import Dropout
from bench.models.mixers.lstm import LSTM
from bench.models.mixers.mamba import Mamba
from bench.models.mixers.mlp import MLP
from bench.models.mixers.s4 import S4
from bench.models.mixers.s4_mamba import S4Mamba

__all__ = ["LSTM", "MLP", "S4", "Attention", "Block", "Dropout", "Mamba", "Place", "S4Mamba"]
