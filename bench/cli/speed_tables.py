"""Tables of `bench speed`: a row per measured case, and the kernels of a step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from bench.cli import printing
from bench.cli.printing import Column
from bench.models.sizes import size_text
from bench.speed import records
from bench.speed.picture import by_group, largest, short_name
from bench.speed.records import KernelTime, Record, Row

DASH = "–"
"""Stands for a number that was not measured."""


def show_record(out: printing.Output, record: Record) -> None:
    """Print the rates of the device and a table with a row per case."""
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


def show_profile(out: printing.Output, row: Row) -> None:
    """Print the times of the kernels in a step of a case."""
    total = sum(kernel.microseconds for kernel in row.profile)
    columns = [Column("µs/step", number=True), Column("share", number=True), Column("launches", number=True)]
    columns += [Column("group"), Column("kernel", folds=True)]

    def line(kernel: KernelTime, name: str) -> tuple[str, ...]:
        share = f"{100 * kernel.microseconds / total:.1f} %" if total else DASH
        return (f"{kernel.microseconds:,.1f}", share, f"{kernel.launches:g}", kernel.group, name)

    lines = [line(kernel, short_name(kernel.name)) for kernel in largest(row.profile)]
    groups = [line(kernel, "") for kernel in by_group(row.profile)]
    title = f"{row.label}: by group, then by kernel; {total:,.0f} µs in all"
    out.print(printing.table(out, columns, [*groups, ("",) * 5, *lines], title=title))
