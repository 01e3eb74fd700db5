"""`bench speed`: times of whole training steps on this machine's device, and of each kernel in them."""

from __future__ import annotations

import importlib.util
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from bench.cli import printing
from bench.cli.arguments import RESULTS, Changes, Json, Plugins, Results, SuiteChoice, optional_suite
from bench.cli.printing import Column
from bench.environment import code_identity, device_name
from bench.errors import UserError, did_you_mean
from bench.files import check_can_write
from bench.models.sizes import size_key, size_text
from bench.precision import PRECISIONS
from bench.run import Run
from bench.speed import records
from bench.speed.cases import USUAL_PRECISIONS, Grid, distinct, runs_of
from bench.speed.picture import draw, largest, short_name
from bench.speed.records import KernelTime, Record, Row

if TYPE_CHECKING:
    import torch

PEERS = {"jax": "pip install 'jax[cuda12]' on a GPU, pip install jax on a processor"}
"""Other programs that can be timed too, and the commands that install them."""
DASH = "–"
"""Stands for a number that was not measured."""
PEER_CASE = ("transformer", "linear_regression")
"""Architecture and task that a peer's program computes."""


def command(
    plugin: Plugins,
    changes: Changes,
    suite: Annotated[str | None, optional_suite("Measure a run of each shape in this suite")] = None,
    architectures: Annotated[
        str | None, typer.Option(help="Architectures, separated by commas (default: the paper's six).")
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(help="Layers x width, e.g. 2x128,8x64, or size groups (default: 2x128)."),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Tasks, separated by commas (default: linear_regression).")
    ] = None,
    precisions: Annotated[
        str | None,
        typer.Option(
            help=f"Precisions, separated by commas: {', '.join(PRECISIONS)} (default: "
            f"{','.join(USUAL_PRECISIONS)}; on a processor fp32)."
        ),
    ] = None,
    stacks: Annotated[str, typer.Option(help="Numbers of runs in a stack, separated by commas.")] = "1,16",
    profile: Annotated[
        bool, typer.Option("--profile", help="Also print and draw the time of each kernel in a step.")
    ] = False,
    peer: Annotated[
        str | None,
        typer.Option(metavar="jax", help="Time a plain JAX program of the same step beside the Transformer."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write the record to this file. By default it joins the results, and `bench plan` reads it.",
        ),
    ] = None,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Time whole training steps on this machine's device, alone and in stacks. Plans use the times."""
    grid = Grid(
        words(architectures, "--architectures"),
        words(sizes, "--sizes"),
        words(tasks, "--tasks"),
        words(precisions, "--precisions"),
        numbers(stacks, "--stacks"),
    )
    show_speed(grid, SpeedChoices(SuiteChoice.optional(suite, changes), results, output, profile, peer, json))


@dataclass(frozen=True)
class SpeedChoices:
    """Options of the command line, besides those of the grid."""

    suite: SuiteChoice | None
    results: Path
    output: Path | None
    profile: bool
    peer: str | None
    as_json: bool


def words(text: str | None, option: str) -> tuple[str, ...] | None:
    """The words of an option, separated by commas; None if the option is missing.

    Raises:
        UserError: the option contains no word.
    """
    if text is None:
        return None
    if not (names := tuple(word.strip() for word in text.split(",") if word.strip())):
        raise UserError(f"{option} {text}: contains no value: expected values separated by commas")
    return tuple(dict.fromkeys(names))


def numbers(text: str, option: str) -> tuple[int, ...]:
    """The whole numbers of an option, separated by commas.

    Raises:
        UserError: a value is not a whole number.
    """
    values = words(text, option) or ()
    if wrong := [value for value in values if not value.isdecimal()]:
        raise UserError(f"{option} {wrong[0]}: expected whole numbers separated by commas, such as 1,16")
    return tuple(int(value) for value in values)


def show_speed(grid: Grid, choices: SpeedChoices) -> None:
    """Measure, store the record, and print it.

    Raises:
        UserError: a name is unknown, this device lacks a precision, or a peer is not installed.
    """
    _check_peer(choices.peer)
    cases = distinct(choices.suite.load().runs, grid) if choices.suite else runs_of(grid)
    device = _prepared()
    name = device_name(str(device))
    cases = _possible(cases, grid, device)
    out = printing.Output()
    if not choices.as_json:
        where = "" if device.type == "cuda" else ", a processor: steps are eager, and slower than on any GPU"
        out.say(f"{name}{where}")
    path = choices.output or records.path_of(choices.results, name)
    check_can_write(path)  # before minutes of measuring
    older = None if choices.output else records.of_device(choices.results, name)
    for record in _measured(cases, grid.stacks, device, name, choices):
        # Stored after every case, so that an interrupted measurement keeps its first cases.
        records.store(path, record.with_older(older))
    pictures = [_picture(row, record.device, path) for row in record.rows if row.profile]
    if choices.as_json:
        out.json(record.plain())
        return
    _show(out, record)
    for row in record.rows:
        if row.profile:
            out.print(_profile_table(out, row))
    out.say(f"Stored: {path}" + "".join(f"\nPicture: {picture}" for picture in pictures))


def _check_peer(peer: str | None) -> None:
    if peer is None:
        return
    if peer not in PEERS:
        raise UserError(f"--peer {peer}{did_you_mean(peer, PEERS)}")
    if importlib.util.find_spec(peer) is None:
        raise UserError(f"--peer {peer}: package {peer} is not installed: {PEERS[peer]}")


def _prepared() -> torch.device:
    """Apply the settings that workers have to this process; return the device to measure."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler reports its own stages otherwise
    import torch

    torch.set_num_threads(1)
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _possible(cases: list[Run], grid: Grid, device: torch.device) -> list[Run]:
    """The cases that a device can compute: on a processor only those in fp32."""
    if device.type == "cuda":
        return cases
    possible = [run for run in cases if run.precision == "fp32"]
    if not possible or (grid.precisions and len(possible) < len(cases)):
        raise UserError(
            "only fp32 can be timed here: other precisions need an NVIDIA GPU; use --precisions fp32"
        )
    return possible


def _measured(
    cases: Sequence[Run], stacks: Sequence[int], device: torch.device, name: str, choices: SpeedChoices
) -> Iterator[Record]:
    """The record after each case."""
    import torch

    from bench.kernels.backends import AUTO, resolve
    from bench.speed.measure import measure, roofline

    backend, _ = resolve(AUTO, str(device))
    code, date = code_identity(), time.strftime("%Y-%m-%dT%H:%M:%S%z")
    about = {"torch": str(torch.__version__), "commit": code["commit"], "date": date}
    precisions = tuple(dict.fromkeys(run.precision for run in cases))
    on_gpu = device.type == "cuda"
    memory = torch.cuda.get_device_properties(device).total_memory >> 20 if on_gpu else None
    with Console(stderr=True).status("measuring a copy and matrix products") as status:
        limits = roofline(device, precisions)
        record = Record(
            device=name,
            device_kind="gpu" if on_gpu else "cpu",
            memory_mib=memory,
            dirty=code["dirty"],
            copy_bytes_per_second=limits.copy_bytes_per_second,
            product_flops_per_second=limits.product_flops_per_second,
            rows=(),
            peers=(),
            **about,
        )
        for run in cases:
            for members in stacks:
                model = f"{run.architecture.name} {size_key(run.size)}"
                case = f"{model} {run.task.name} {run.precision}, stack {members}"
                status.update(case)
                row = replace(measure(run, members, device, backend, choices.profile), **about)
                record = replace(record, rows=(*record.rows, row))
                if choices.peer and (run.architecture.name, run.task.name) == PEER_CASE:
                    from bench.speed import peer_jax

                    status.update(f"jax: {case}")
                    peer = {**peer_jax.measure(run, members), "date": date}
                    record = replace(record, peers=(*record.peers, peer))
                yield record


def _show(out: printing.Output, record: Record) -> None:
    rates = ", ".join(
        f"{precision} {printing.flops(rate)} FLOP/s"
        for precision, rate in record.product_flops_per_second.items()
    )
    copied = f"{(record.copy_bytes_per_second or 0) / 1e12:.3g} TB/s"
    out.say(f"torch {record.torch}; a large copy moves {copied}; large matrix products: {rates}.")
    columns = [
        Column("architecture", folds=True),
        Column("size"),
        Column("task", folds=True),
        Column("precision"),
    ]
    columns += [
        Column(name, number=True) for name in ("stack", "ms/step", "ms/member", "stack gain", "FLOP/s")
    ]
    columns += [Column("of matmul rate", number=True)]
    columns += [Column("kernels/step", number=True, spare=True), Column("peak MiB", number=True, spare=True)]
    columns += [Column("", folds=True)]
    rows = list(_rows(record))
    out.print(printing.table(out, columns, rows, title="Training steps"))
    out.say(
        "ms/member: per step and member of the stack. Stack gain: time alone over time per member. "
        "Of matmul rate: training FLOPs per second over those of the large matrix product in that precision.",
        style="dim",
    )


def _rows(record: Record) -> Iterator[tuple[str, ...]]:
    """A row per case, each followed by the row of its peer."""
    peers = defaultdict(list)
    for peer in record.peers:
        peers[tuple(peer[name] for name in (*records.Shape._fields, "task", "stack"))].append(peer)
    for row in record.rows:
        shape = row.shape
        names = (row.task, shape.precision, str(row.stack))
        size = size_text(shape)
        fraction = record.product_fraction(row)
        yield (
            shape.architecture,
            size,
            *names,
            _number(row.ms_per_step),
            _number(row.ms_per_member),
            _number(record.stack_gain(row)),
            DASH if row.flops_per_second is None else printing.flops(row.flops_per_second),
            DASH if fraction is None else f"{100 * fraction:.3g} %",
            DASH if row.kernels_per_step is None else f"{row.kernels_per_step:,.0f}",
            DASH if row.peak_memory_mib is None else f"{row.peak_memory_mib:,}",
            row.failure or "",
        )
        for peer in peers[(*shape, row.task, row.stack)]:
            times = (_number(peer["ms_per_step"]), _number(peer["ms_per_member"]))
            elsewhere = record.device_kind == "gpu" and peer["device"] != record.device
            note = peer["failure"] or (f"on {peer['device']}" if elsewhere else "")
            name = f"  {peer['program']}: {shape.architecture}"
            yield (name, size, *names, *times, *[DASH] * 5, note)


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _profile_table(out: printing.Output, row: Row) -> Any:
    total = sum(kernel.microseconds for kernel in row.profile)
    columns = [Column("µs/step", number=True), Column("share", number=True), Column("launches", number=True)]
    columns += [Column("group"), Column("kernel", folds=True)]

    def line(kernel: KernelTime, name: str) -> tuple[str, ...]:
        share = f"{100 * kernel.microseconds / total:.1f} %" if total else DASH
        return (f"{kernel.microseconds:,.1f}", share, f"{kernel.launches:g}", kernel.group, name)

    lines = [line(kernel, short_name(kernel.name)) for kernel in largest(row.profile)]
    groups = [line(kernel, "") for kernel in by_group(row.profile)]
    title = f"{row.label}: by group, then by kernel; {total:,.0f} µs in all"
    return printing.table(out, columns, [*groups, ("",) * 5, *lines], title=title)


def by_group(profile: Sequence[KernelTime]) -> list[KernelTime]:
    """The sums of each group, the longest first."""
    groups: dict[str, list[KernelTime]] = defaultdict(list)
    for kernel in profile:
        groups[kernel.group].append(kernel)
    sums = [
        KernelTime(
            "",
            group,
            sum(kernel.microseconds for kernel in kernels),
            sum(kernel.launches for kernel in kernels),
        )
        for group, kernels in groups.items()
    ]
    return sorted(sums, key=lambda kernel: -kernel.microseconds)


def _picture(row: Row, device: str, path: Path) -> Path:
    picture = path.with_name(f"{path.stem}-{row.label}.png")
    draw(row, device, picture)
    return picture
