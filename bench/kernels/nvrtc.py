"""Compile CUDA C++ when it is first needed and launch it on PyTorch's stream.

The compiler is NVRTC, a library that PyTorch's CUDA builds install. Nothing is built when bench is installed,
and nothing here needs CUDA before the first call.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Argument = Tensor | int
_TYPES = {"P": ctypes.c_void_p, "q": ctypes.c_longlong, "i": ctypes.c_int}
_MAX_DYNAMIC_SHARED_SIZE, _SHARED_MEMORY_CARVEOUT = 8, 9  # of the enumeration CUfunction_attribute


class CompiledKernel:
    """A kernel of a cubin, loaded on the current device.

    Args:
        binary: the cubin.
        name: name of the kernel, declared `extern "C"`.
        types: types of its arguments: P for a pointer, q for a long long, i for an int.
        shared_bytes: dynamic shared memory of a block.
    """

    def __init__(self, binary: bytes, name: str, types: str, shared_bytes: int) -> None:
        self.types, self.shared_bytes = types, shared_bytes
        self._driver = _driver()
        _retain_context(self._driver)
        self._module, self._function = ctypes.c_void_p(), ctypes.c_void_p()
        _check(self._driver.cuModuleLoadData(ctypes.byref(self._module), binary))
        _check(self._driver.cuModuleGetFunction(ctypes.byref(self._function), self._module, name.encode()))
        # All of the memory that the L1 cache shares, so that as many blocks fit as possible.
        for attribute, value in ((_MAX_DYNAMIC_SHARED_SIZE, shared_bytes), (_SHARED_MEMORY_CARVEOUT, 100)):
            _check(self._driver.cuFuncSetAttribute(self._function, attribute, value))

    def __call__(self, blocks: int, threads: int, arguments: Sequence[Argument]) -> None:
        """Launch `blocks` blocks of `threads` threads on PyTorch's current stream."""
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        _retain_context(self._driver)
        values, pointers = packed(self.types, arguments)
        _check(
            self._driver.cuLaunchKernel(
                self._function, blocks, 1, 1, threads, 1, 1, self.shared_bytes, stream, pointers, None
            )
        )
        del values  # `pointers` point to them


def packed(types: str, arguments: Sequence[Argument]) -> tuple[list[Any], Any]:
    """Arguments as C values, and an array of pointers to them, which is what a launch takes."""
    values = [
        _TYPES[kind](argument.data_ptr() if isinstance(argument, Tensor) else argument)
        for kind, argument in zip(types, arguments, strict=True)
    ]
    addresses = [ctypes.cast(ctypes.byref(value), ctypes.c_void_p) for value in values]
    return values, (ctypes.c_void_p * len(values))(*addresses)


@functools.cache
def load(
    file: Path,
    name: str,
    types: str,
    shared_bytes: int,
    constants: tuple[tuple[str, int], ...],
    device: int,
) -> CompiledKernel:
    """The kernel `name` of a CUDA C++ file, compiled with macros `constants` for the GPU `device`.

    The cubin is kept on disk, in Triton's cache folder, so that only the first process compiles.
    """
    major, minor = torch.cuda.get_device_capability(device)
    source = file.read_bytes()
    options = [f"--gpu-architecture=sm_{major}{minor}", "--std=c++17", *definitions(dict(constants))]
    key = hashlib.sha256(b"\0".join([source, *map(str.encode, options), str(version()).encode()]))
    cached = _cache_folder() / f"{file.stem}-{key.hexdigest()[:32]}.cubin"
    if cached.exists():
        binary = cached.read_bytes()
    else:
        binary = compile_cubin(source, file.name, options)
        _write(cached, binary)
    with torch.cuda.device(device):
        return CompiledKernel(binary, name, types, shared_bytes)


def definitions(constants: Mapping[str, int]) -> list[str]:
    """Macros as options of a compiler."""
    return [f"-D{name}={value}" for name, value in constants.items()]


def compile_cubin(source: bytes, name: str, options: Sequence[str]) -> bytes:
    """Machine code of CUDA C++ text.

    Raises:
        RuntimeError: the text does not compile; with the compiler's messages.
    """
    library = _library()
    if library is None:
        raise RuntimeError("NVRTC is missing: PyTorch's CUDA builds install it")
    program = ctypes.c_void_p()
    texts = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    code = library.nvrtcCreateProgram(ctypes.byref(program), source, name.encode(), 0, None, None)
    try:
        code = code or library.nvrtcCompileProgram(program, len(options), texts)
        if code:
            log = _output(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program)
            raise RuntimeError(f"{name} does not compile (NVRTC error {code}):\n{log.decode()}")
        return _output(library.nvrtcGetCUBINSize, library.nvrtcGetCUBIN, program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def refusal(device: int) -> str | None:
    """Why kernels cannot be compiled for the GPU `device`; None if they can."""
    library = _library()
    if library is None:
        return "NVRTC is missing: PyTorch's CUDA builds install it"
    count = ctypes.c_int()
    library.nvrtcGetNumSupportedArchs(ctypes.byref(count))
    architectures = (ctypes.c_int * count.value)()
    library.nvrtcGetSupportedArchs(architectures)
    major, minor = torch.cuda.get_device_capability(device)
    if 10 * major + minor in architectures:
        return None
    return f"NVRTC {'.'.join(map(str, version() or ()))} does not know this GPU, sm_{major}{minor}"


def version() -> tuple[int, int] | None:
    """NVRTC's version; None if it is missing."""
    library = _library()
    if library is None:
        return None
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return major.value, minor.value


@functools.cache
def _library() -> Any:
    if not torch.version.cuda:
        return None
    name = f"libnvrtc.so.{torch.version.cuda.split('.')[0]}"
    # Its name suffices if PyTorch has loaded it or the system has it. Otherwise it is in a package that
    # PyTorch's wheels install.
    packages = importlib.util.find_spec("nvidia")
    folders = packages.submodule_search_locations or () if packages else ()
    for place in (name, *(str(file) for folder in folders for file in Path(folder).glob(f"*/lib/{name}"))):
        try:
            return ctypes.CDLL(place)
        except OSError:
            continue
    return None


@functools.cache
def _driver() -> Any:
    return ctypes.CDLL("libcuda.so.1")


def _retain_context(driver: Any) -> None:
    """Make PyTorch's context current in this thread. Threads of autograd may not have one yet."""
    context, device = ctypes.c_void_p(), ctypes.c_int()
    _check(driver.cuCtxGetCurrent(ctypes.byref(context)))
    if not context:
        _check(driver.cuDeviceGet(ctypes.byref(device), torch.cuda.current_device()))
        _check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
        _check(driver.cuCtxSetCurrent(context))


def _output(size_of: Any, read: Any, program: Any) -> bytes:
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    read(program, buffer)
    return buffer.raw


def _check(code: int) -> None:
    if code:
        text = ctypes.c_char_p()
        _driver().cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"CUDA error {code}: {(text.value or b'unknown').decode()}")


def _cache_folder() -> Path:
    if folder := os.environ.get("TRITON_CACHE_DIR"):
        return Path(folder) / "bench"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):  # a user without a home, as in a container
        home = os.path.join(tempfile.gettempdir(), f"bench-{os.getuid()}")
    return Path(home) / ".triton" / "cache" / "bench"


def _write(file: Path, binary: bytes) -> None:
    """Write all or nothing; a cache that cannot be written only costs the next process the compilation."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as temporary:
            temporary.write(binary)
        os.replace(temporary.name, file)
    except OSError:
        pass
