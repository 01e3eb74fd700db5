"""Records of `bench speed`, a file per device. Plans, estimates and stack sizes use them.

    results/.state/speed/<device>.json

Format 1:

    {"format": 1, "kind": "speed", "device": "NVIDIA …", "device_kind": "gpu" | "cpu", "memory_mib": … | null,
     "torch", "commit", "dirty", "date": of the latest measurement,
     "copy_bytes_per_second", "product_flops_per_second": {precision: rate of a large matrix product},
     "rows": [{"architecture", "layers", "width", "length", "batch_size", "precision", "task", "heads",
               "stack", "backend", "flops_per_step": full-length training FLOPs of one member,
               "ms_per_step", "kernels_per_step", "peak_memory_mib", "failure", "torch", "commit", "date",
               "ms_per_member", "stack_gain", "flops_per_second", "product_fraction": from the others,
               "profile": [{"name", "group", "microseconds", "launches"}] of one step, largest first}],
     "peers": [rows of other programs, with "program" and "device"]}

Values that were not measured are null. A later measurement of the same case replaces a row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from bench.files import read_json, write_json
from bench.models.sizes import size_key
from bench.results import STATE
from bench.results.record import RecordedRun
from bench.run import Run

FORMAT = 1
FOLDER = "speed"
"""Folder, inside the results' state, of the records."""
CLOSE_TO_BEST = 1.05
"""A stack counts as fast as the fastest if its time per member is within this factor."""


class Shape(NamedTuple):
    """The properties of a run that determine the time of a training step."""

    architecture: str
    layers: int
    width: int
    length: int
    batch_size: int
    precision: str

    @classmethod
    def of(cls, run: Run | RecordedRun, length: int) -> Shape:
        """The shape of a run with prompts of `length` tokens."""
        size = run.size
        return cls(run.architecture.name, size.layers, size.width, length, run.batch_size, run.precision)


def shape_of(run: Run) -> Shape:
    """The shape of a run's training step."""
    return Shape.of(run, run.task.full_length)


def flops_per_step(run: Run) -> int:
    """Full-length training FLOPs of one step of one run."""
    return run.training_flops_full_length(1)


def failure_of(error: BaseException) -> str:
    """Why a case failed, as rows state it: the type of the error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


@dataclass(frozen=True)
class KernelTime:
    """A kernel's part of a training step.

    Attributes:
        name: name in the profiler.
        group: group of the kernel (`bench.speed.profile.GROUPS`).
        microseconds: time per step.
        launches: launches per step.
    """

    name: str
    group: str
    microseconds: float
    launches: float


@dataclass(frozen=True)
class Row:
    """The measurement of a case: a stack of `stack` runs of the same shape.

    Attributes:
        shape: the shape.
        task: name of the task.
        heads: attention heads; None without attention.
        stack: members of the stack.
        backend: name of the kernels' backend.
        flops_per_step: full-length training FLOPs of a step of a member.
        ms_per_step: time of the whole stack; None for a case that failed.
        kernels_per_step: kernels, copies and fills on the device; None on a CPU.
        peak_memory_mib: GPU memory of the whole stack; None on a CPU.
        failure: why the case failed; None if it did not.
        torch: version of PyTorch.
        commit: commit of bench.
        date: time of the measurement, in ISO 8601.
        profile: the kernels of a step, longest first; empty if they were not recorded.
    """

    shape: Shape
    task: str
    heads: int | None
    stack: int
    backend: str
    flops_per_step: int
    ms_per_step: float | None = None
    kernels_per_step: float | None = None
    peak_memory_mib: int | None = None
    failure: str | None = None
    torch: str | None = None
    commit: str | None = None
    date: str | None = None
    profile: tuple[KernelTime, ...] = ()

    @property
    def key(self) -> tuple[Any, ...]:
        """Identifies the case: a later row with the same key replaces this row."""
        return (*self.shape, self.task, self.heads, self.stack, self.backend)

    @property
    def ms_per_member(self) -> float | None:
        """Milliseconds per step and member."""
        return None if self.ms_per_step is None else self.ms_per_step / self.stack

    @property
    def flops_per_second(self) -> float | None:
        """Training FLOPs of all members per second."""
        return None if self.ms_per_step is None else self.flops_per_step * self.stack / self.ms_per_step * 1e3

    @property
    def label(self) -> str:
        """A name for messages and files: model, task, batch × tokens, precision, stack."""
        shape = self.shape
        model = f"{shape.architecture}-{size_key(shape)}"
        return f"{model}-{self.task}-{shape.batch_size}x{shape.length}-{shape.precision}-stack{self.stack}"

    def plain(self) -> dict[str, Any]:
        """The row as stored, without values that depend on other rows."""
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "shape"}
        values["profile"] = [vars(kernel) for kernel in self.profile]
        derived = {"ms_per_member": self.ms_per_member, "flops_per_second": self.flops_per_second}
        return {**self.shape._asdict(), **values, **derived}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Row:
        """The row that `plain` stored."""
        names = {item.name for item in fields(cls)} - {"shape", "profile"}
        row = cls(
            shape=Shape(*(value[name] for name in Shape._fields)),
            profile=tuple(KernelTime(**kernel) for kernel in value.get("profile", ())),
            **{name: item for name, item in value.items() if name in names},
        )
        if row.ms_per_step is not None and not 0 < row.ms_per_step < math.inf:
            raise ValueError(f"ms_per_step is {row.ms_per_step}")
        if row.stack < 1 or row.flops_per_step < 0:
            raise ValueError(f"stack {row.stack}, flops_per_step {row.flops_per_step}")
        return row


@dataclass(frozen=True)
class Record:
    """Everything that was measured on one device.

    Attributes:
        device: the device's name (`bench.environment.device_name`).
        device_kind: "gpu" or "cpu".
        memory_mib: memory of the GPU; None on a CPU.
        torch: version of PyTorch at the latest measurement.
        commit: commit of bench at the latest measurement.
        dirty: whether the checkout had changes then.
        date: time of the latest measurement, in ISO 8601.
        copy_bytes_per_second: rate of a large copy, bytes read and bytes written.
        product_flops_per_second: rate of a large matrix product, by precision.
        rows: measurements of bench's training step.
        peers: measurements of other programs.
    """

    device: str
    device_kind: str
    memory_mib: int | None = None
    torch: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    date: str | None = None
    copy_bytes_per_second: float | None = None
    product_flops_per_second: Mapping[str, float] = field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    peers: tuple[Mapping[str, Any], ...] = ()

    def times(self, shape: Shape) -> dict[int, Row]:
        """The measured rows of a shape by stack size. If several backends were measured, the fastest row."""
        fastest: dict[int, Row] = {}
        for row in self.rows:
            if row.shape == shape and row.ms_per_step is not None:
                best = fastest.get(row.stack)
                if best is None or row.ms_per_step < (best.ms_per_step or math.inf):
                    fastest[row.stack] = row
        return fastest

    def best_stack(self, shape: Shape) -> int | None:
        """The smallest stack within 5 % of the best time per member; None if fewer than two were measured."""
        per_member = {stack: row.ms_per_member or math.inf for stack, row in self.times(shape).items()}
        if len(per_member) < 2:
            return None
        best = min(per_member.values())
        return min(stack for stack, time in per_member.items() if time <= CLOSE_TO_BEST * best)

    def stack_gain(self, row: Row) -> float | None:
        """Time of the same case as a stack of one, divided by its time per member in this stack."""
        alone = next(
            (other.ms_per_step for other in self.rows if other.key == replace(row, stack=1).key), None
        )
        return None if alone is None or row.ms_per_member is None else alone / row.ms_per_member

    def product_fraction(self, row: Row) -> float | None:
        """Training FLOPs per second over those of a large matrix product in the same precision."""
        rate = self.product_flops_per_second.get(row.shape.precision)
        return row.flops_per_second / rate if row.flops_per_second is not None and rate else None

    def with_older(self, older: Record | None) -> Record:
        """This record, and the rows of an older record that it does not replace."""
        if older is None or older.device != self.device:
            return self
        keys = {row.key for row in self.rows}
        rows = (*(row for row in older.rows if row.key not in keys), *self.rows)
        rates = {**older.product_flops_per_second, **self.product_flops_per_second}
        return replace(self, rows=rows, product_flops_per_second=rates, peers=self.peers or older.peers)

    def plain(self) -> dict[str, Any]:
        """The record as stored."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        rows = [
            {
                **row.plain(),
                "stack_gain": self.stack_gain(row),
                "product_fraction": self.product_fraction(row),
            }
            for row in self.rows
        ]
        return {"format": FORMAT, "kind": "speed", **values, "rows": rows, "peers": list(self.peers)}

    @classmethod
    def of(cls, value: Any) -> Record:
        """The record that `plain` stored.

        Raises:
            ValueError: the value is not such a record; the message states the reason.
        """
        if not isinstance(value, dict) or value.get("kind") != "speed":
            raise ValueError("is not a record of bench speed")
        if value.get("format") != FORMAT:
            raise ValueError(f"has format {value.get('format')!r}, this version of bench reads {FORMAT}")
        names = {item.name for item in fields(cls)} - {"rows", "peers"}
        try:
            own = {name: item for name, item in value.items() if name in names}
            return cls(rows=tuple(map(Row.of, value["rows"])), peers=tuple(value.get("peers", ())), **own)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"is not a whole record ({type(error).__name__}: {error})") from None


def path_of(results: Path, device: str) -> Path:
    """The path of a device's record."""
    slug = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") or "device"
    return results / STATE / FOLDER / f"{slug}.json"


def store(path: Path, record: Record) -> None:
    """Write a record atomically."""
    write_json(path, record.plain(), indent=1)


def read(path: Path) -> Record:
    """The record in a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a record; the message states the reason.
    """
    return Record.of(read_json(path))


def of_device(results: Path, device: str) -> Record | None:
    """The record of a device; None if it is missing or unusable."""
    try:
        record = read(path_of(results, device))
    except (OSError, ValueError, RecursionError):
        return None
    return record if record.device == device else None


def load(results: Path, problems: list[str]) -> Sequence[Record]:
    """All records under `results`. For each unusable file, a line is added to `problems`."""
    records = []
    for path in sorted((results / STATE / FOLDER).glob("*.json")):
        try:
            records.append(read(path))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{path}: {error}; set aside")
    return records
