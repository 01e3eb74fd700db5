"""`bench doctor --speed`: times of all kernels on this GPU, and of drawing a batch of prompts."""

from __future__ import annotations

import functools
from typing import Any

from bench.cli import printing
from bench.cli.printing import Column
from bench.errors import UserError

BATCH = 64


def show_kernel_speeds(as_json: bool) -> None:
    """Measure and print.

    Raises:
        UserError: there is no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise UserError("doctor --speed times kernels on an NVIDIA GPU, and this machine has none")
    from bench.kernels import speed

    device = torch.device("cuda", torch.cuda.current_device())
    measurements: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "copy_bytes_per_second": speed.copy_bandwidth(device),
        "batch_size": speed.BATCH,
        "kernels": [vars(row) for row in speed.measure(device)],
        "sampling": _sampling(device),
    }
    if as_json:
        printing.Output().json(measurements)
    else:
        _show(measurements)


def _sampling(device: Any) -> list[dict[str, Any]]:
    """Microseconds to draw one training batch of every task, in a captured graph."""
    import torch

    from bench.kernels.speed import microseconds
    from bench.tasks import TASKS
    from bench.tasks.draws import Draws

    draws = Draws(0, "train", torch.zeros((), dtype=torch.int64, device=device))
    tasks = {name: kind.example() for name, kind in TASKS.items()}
    return [
        {"task": name, "microseconds": microseconds(functools.partial(task.batch, draws, BATCH))}
        for name, task in tasks.items()
    ]


def _show(measurements: dict[str, Any]) -> None:
    out = printing.Output()
    copy = measurements["copy_bytes_per_second"] / 1e12
    out.say(f"{measurements['device']}, torch {measurements['torch']}; a copy moves {copy:.2f} TB/s")
    for kernel in dict.fromkeys(row["kernel"] for row in measurements["kernels"]):
        of_kernel = [row for row in measurements["kernels"] if row["kernel"] == kernel]
        names = list(dict.fromkeys(row["backend"] for row in of_kernel))
        times = {(row["channels"], row["length"], row["backend"]): row["microseconds"] for row in of_kernel}
        columns = [Column(name, number=True) for name in ("channels", "tokens", *names)]
        rows = [
            (str(channels), str(length), *(_microseconds(times[channels, length, name]) for name in names))
            for channels, length in dict.fromkeys((row["channels"], row["length"]) for row in of_kernel)
        ]
        title = f"{kernel}: forward and backward of {measurements['batch_size']} prompts, µs"
        out.print(printing.table(out, columns, rows, title=title))
    rows = [(row["task"], _microseconds(row["microseconds"])) for row in measurements["sampling"]]
    title = f"Drawing a batch of {BATCH} prompts, µs"
    out.print(printing.table(out, [Column("task"), Column("µs", number=True)], rows, title=title))


def _microseconds(value: float | None) -> str:
    return "out of memory" if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
