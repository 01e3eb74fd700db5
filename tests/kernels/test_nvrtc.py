"""The run-time compiler without a GPU: what it passes to a kernel, and what it says where it is missing."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest
import torch

from bench.kernels import nvrtc


def test_arguments_are_packed_as_a_launch_takes_them() -> None:
    tensor = torch.zeros(3)
    values, pointers = nvrtc.packed("Pqi", (tensor, -(2**40), -7))
    assert ctypes.c_void_p.from_address(pointers[0]).value == tensor.data_ptr()
    assert ctypes.c_longlong.from_address(pointers[1]).value == -(2**40)
    assert ctypes.c_int.from_address(pointers[2]).value == -7
    assert len(values) == 3
    with pytest.raises(ValueError, match="shorter"):
        nvrtc.packed("Pq", (tensor,))


def test_without_the_compiler_kernels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "_library", lambda: None)
    assert nvrtc.version() is None
    reason = nvrtc.refusal(0)
    assert reason is not None
    assert "NVRTC is missing" in reason
    with pytest.raises(RuntimeError, match="NVRTC is missing"):
        nvrtc.compile_cubin(b"", "kernel.cu", [])


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nvrtc._write(tmp_path / "file" / "kernel.cubin", b"binary")
    nvrtc._write(tmp_path / "folder" / "kernel.cubin", b"binary")
    assert (tmp_path / "folder" / "kernel.cubin").read_bytes() == b"binary"
