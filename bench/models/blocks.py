"""The table of blocks: a line per mixer. A plugin's block is a subclass of `Block`.

A mixer's file may define architectures too, as a plugin's file does. They are registered if the mixer's line
imports them: `from bench.models.mixers.mine import Mine as Mine, mine as mine`.
"""

# ruff: noqa: I001  (a line per mixer)
from bench.models.mixers.attention import Attention as Attention
from bench.models.mixers.block import Block as Block, Place as Place
from bench.models.mixers.dropout import Dropout as Dropout
from bench.models.mixers.gated_deltanet import GatedDeltaNet as GatedDeltaNet
from bench.models.mixers.gla import GLA as GLA
from bench.models.mixers.kda import KDA as KDA
from bench.models.mixers.lstm import LSTM as LSTM
from bench.models.mixers.mamba import Mamba as Mamba
from bench.models.mixers.mamba2 import Mamba2 as Mamba2
from bench.models.mixers.mamba3 import Mamba3 as Mamba3
from bench.models.mixers.mlp import MLP as MLP
from bench.models.mixers.mlstm import MLSTM as MLSTM
from bench.models.mixers.rwkv7 import RWKV7 as RWKV7, RWKV7ChannelMix as RWKV7ChannelMix
from bench.models.mixers.s4 import S4 as S4
from bench.models.mixers.s4_mamba import S4Mamba as S4Mamba
from bench.models.mixers.swiglu import SwiGLU as SwiGLU
