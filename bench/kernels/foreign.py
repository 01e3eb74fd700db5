"""Kernels of other libraries, for plugins. They are tested against bench's reference before use."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.errors import UserError
from bench.kernels.kernel import note_backend

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.kernels.kernel import Function


class Foreign:
    """A library's function in place of a kernel of bench. The first call on a device tests the function.

    Args:
        kernel: name of the kernel (`bench.kernels.registry`).
        location: "module:function" in the library.
        install: command that installs the library.
        adapted: maps the library's function to one with the kernel's arguments and output.

    Raises:
        UserError: the library is missing; or, at the first call on a device, its function fails there,
            disagrees with the reference, or is not deterministic.
    """

    def __init__(
        self, kernel: str, location: str, install: str, adapted: Callable[[Function], Function]
    ) -> None:
        module, _, name = location.partition(":")
        try:
            function = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            message = f"{location} cannot be imported ({error}): {install}"
            raise UserError(f"kernel '{kernel}': {message}") from error
        self.kernel, self.location, self.function = kernel, location, adapted(function)
        self.tested: set[torch.device] = set()
        note_backend(kernel, location)

    def __call__(self, *inputs: Tensor) -> Tensor:
        device = inputs[0].device
        if device not in self.tested:
            from bench.kernels.self_test import fault

            if reason := fault(self.kernel, self.function, device):
                raise UserError(f"kernel '{self.kernel}': {self.location} is refused: {reason}")
            self.tested.add(device)
        y: Tensor = self.function(*inputs)
        return y
