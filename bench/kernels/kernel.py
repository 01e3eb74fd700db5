"""The type of a kernel's declaration, which is in the kernel's folder. Imports no torch."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.errors import UserError
from bench.kernels.backends import BACKENDS
from bench.kernels.inputs import BATCH, CHANNELS, Draw

if TYPE_CHECKING:
    from torch import Tensor

Function: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Kernel:
    """A kernel. Its folder has a file per backend, named after the backend, with a function `function`.

    If a backend has no file in the folder, another backend replaces it (`bench.kernels.backends.BACKENDS`).

    Attributes:
        name: the kernel's name in messages and results.
        folder: the package of the kernel's files: `__name__` in the package's `__init__.py`.
        function: name of the kernel's function in every file.
        draw: draws inputs on the CPU, with magnitudes as in a model, to compare backends and to time them;
            None if there is a `trial`.
        floats: smallest number of floats that the kernel must move per token and channel, forward and
            backward.
        floats_per_token: the same per token, independent of the number of channels.
        places: locations of backends that are not in the folder, by name: "module:function", or the name of
            another backend that replaces it.
        trial: for a kernel that is not a function of tensors, the "module:function" that runs it: (the
            kernel's function, a device) → outputs, other tensors to compare, and seconds.
    """

    name: str
    folder: str
    function: str
    draw: Draw | None = None
    floats: int = 0
    floats_per_token: int = 0
    places: Mapping[str, str] = field(default_factory=dict)
    trial: str = ""

    def inputs(self, length: int, batch: int = BATCH, channels: int = CHANNELS) -> list[Tensor]:
        """Inputs of `draw`, by default of a small size.

        Raises:
            UserError: the kernel is not a function of tensors.
        """
        if self.draw is None:
            raise UserError(f"kernel '{self.name}' is not a function of tensors: it has no inputs to draw")
        return self.draw(length, batch, channels)

    def place(self, backend: str) -> str:
        """Location "module:function" of a backend, or the name of the backend that replaces it.

        Raises:
            UserError: there is no such backend, or it has neither code nor a replacement.
        """
        if backend not in BACKENDS:
            raise UserError(f"kernel '{self.name}' has no backend '{backend}': it has {', '.join(BACKENDS)}")
        module = f"{self.folder}.{backend}"
        if place := self.places.get(backend):
            return place
        if importlib.util.find_spec(module):
            return f"{module}:{self.function}"
        if place := BACKENDS[backend].otherwise:
            return place
        file = f"{module.replace('.', '/')}.py"
        raise UserError(f"kernel '{self.name}' has no code for '{backend}': there is no {file}")

    def own_backends(self) -> tuple[str, ...]:
        """Names of the backends with code of their own, without those that another backend replaces."""
        return tuple(name for name in BACKENDS if ":" in self.place(name))

    def load(self, backend: str) -> Function:
        """The function that computes the kernel with `backend`; imports the packages of that backend.

        Raises:
            UserError: there is no such backend (`place`).
            ImportError: a package of the backend is not installed (`bench.kernels.backends.unavailable`).
        """
        place = self.place(backend)
        if ":" not in place:
            return self.load(place)
        note_backend(self.name, backend)
        # A kernel that consists of other kernels loads them when it is imported first, and never again.
        with recorded_backends():
            return located(place)


_recorded: ContextVar[dict[str, str] | None] = ContextVar("recorded backends", default=None)


@contextlib.contextmanager
def recorded_backends() -> Iterator[dict[str, str]]:
    """Record which kernels are loaded in a `with` block: by kernel, the backend whose code computes it.

    A kernel that another kernel consists of is not recorded.
    """
    backends: dict[str, str] = {}
    token = _recorded.set(backends)
    try:
        yield backends
    finally:
        _recorded.reset(token)


def note_backend(kernel: str, backend: str) -> None:
    """Record that a backend, or the function of another library, computes a kernel (`recorded_backends`)."""
    backends = _recorded.get()
    if backends is not None:
        backends[kernel] = backend


def located(place: str) -> Function:
    """The function at "module:function"."""
    module, _, name = place.partition(":")
    function: Function = getattr(importlib.import_module(module), name)
    return function
