"""Load torch only when something is computed with it.

A task is a definition (fields, lengths, curriculum) and a computation (draw prompts, score them).
`bench plan` and `bench report` read definitions only, and importing torch would cost them two seconds.
So task files import `torch` from this module, which loads it at the first use of an attribute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
else:

    class _Torch:
        def __getattr__(self, attribute: str) -> Any:
            import torch

            return getattr(torch, attribute)

    torch = _Torch()
