"""GLA with a kernel of flash-linear-attention, which needs an NVIDIA GPU and `pip install 'icl-bench[fla]'`.

The mixer is bench's own but for the recurrence. Before it is used, the kernel is compared with bench's
reference, in outputs and gradients, and computed twice. It is refused if it disagrees or is not
deterministic.
"""

from typing import ClassVar, Literal

from torch import nn

from bench.kernels.foreign import Foreign
from bench.models.architecture import Architecture
from bench.models.blocks import GLA, Place, SwiGLU


class FlashGLA(GLA):
    stackable: ClassVar[bool] = False  # the library's kernels know no stacks
    name: Literal["fla_gla"] = "fla_gla"

    def build(self, place: Place) -> nn.Module:
        module = super().build(place)
        module.attend = Foreign(
            "vector decay",
            "fla.ops.gla:fused_recurrent_gla",
            "pip install 'icl-bench[fla]'",
            lambda gla: lambda q, k, v, log_decay: gla(q, k, v, gk=log_decay, scale=1.0)[0],
        )
        return module


fla_gla = Architecture(name="fla_gla", layer=(FlashGLA(), SwiGLU()), norm="rms")
