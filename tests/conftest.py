"""What every test shares."""

from __future__ import annotations

import functools
import importlib.util
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from bench import kernels

# Times say more about the machine's other work than about the code: no example has a deadline.
settings.register_profile("bench", deadline=None)
settings.load_profile("bench")

# `nohup` and the `&` of a script make these ignored, and processes inherit that: those that tests stop, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def interpret_triton() -> None:
    """Import Triton and its kernels here such that they run in its interpreter.

    Triton decides that when a module is imported, its own among them, and any test may be the first to
    import one. Only the kernels' own tests then say that the interpreter may be used.
    """
    if torch.cuda.is_available() or importlib.util.find_spec("triton") is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        folder = Path(kernels.__file__).parent
        for file in sorted(folder.rglob("triton*.py")):
            parts = file.relative_to(folder).with_suffix("").parts
            importlib.import_module(".".join(("bench.kernels", *parts)))
    patch_once()
    compute_what_is_used()


def patch_once() -> None:
    """Keep Triton's interpreter from replacing its language's functions at every call inside a kernel.

    A launch replaces those of `triton.language`. Functions of Triton's own that a kernel calls use
    `triton.language.core`, which stays as it is once replaced. The interpreter looks for functions to replace
    at each such call all the same, which is a third of the time of these tests.
    """
    from triton.runtime import interpreter

    modules: set[int] = set()

    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        if id(self.fn.__globals__) not in modules:
            modules.add(id(self.fn.__globals__))
            interpreter._patch_lang(self.fn)
        return self.rewrite()(*arguments, **options)

    interpreter.InterpretedFunction.__call__ = call


def compute_what_is_used() -> None:
    """Keep Triton's interpreter from work without a use, which is two fifths of the time of these tests.

    Beside each sum and product of integers it computes whether there was an overflow, in a dozen more
    operations. It reads the answer only with its option `debug`, which is off. And it builds its table of
    NumPy's types anew whenever it reads it.
    """
    import triton.language as tl
    from triton.runtime import interpreter

    builder = interpreter.interpreter_builder
    builder.options = replace(builder.options, sanitize_overflow=builder.options.debug)
    of_scalar = functools.cache(interpreter._get_np_dtype)
    of_pointer = interpreter._get_np_dtype(tl.pointer_type(tl.int8))

    def numpy_type(kind: Any) -> Any:
        scalar = kind.scalar
        return of_pointer if isinstance(scalar, tl.pointer_type) else of_scalar(scalar)

    interpreter._get_np_dtype = numpy_type


interpret_triton()


@pytest.fixture(autouse=True)
def own_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the stream, or with the width, that a command inside an earlier test has left."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("bench.cli.stdout._reserved", None)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without the encoding of figures, which takes most of their time."""
    svg = b'<svg viewBox="0 0 486 200"><g id="part"/><path id="p1"/><use href="#p1"/></svg>'
    files = {"svg": svg, "png": b"png", "pdf": b"pdf"}
    monkeypatch.setattr("bench.report.write.all_encoded", lambda figures: dict.fromkeys(figures, files))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that mostly wait, for a Slurm: others use the cores meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("slurm") is None)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Tests run beside each other: one thread each is faster than all of them fighting for cores."""
    torch.set_num_threads(1)
