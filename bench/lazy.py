"""Load torch only when something is computed with it.

A task is a definition (fields, lengths, curriculum) and a computation (draw prompts, score them).
`bench plan` and `bench report` read definitions only, and importing torch would cost them two seconds.
So task files import `torch` from this module, which loads it at the first use of an attribute.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch as torch
else:

    class _Lazy:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(importlib.import_module(self._name), attribute)

    torch = _Lazy("torch")
