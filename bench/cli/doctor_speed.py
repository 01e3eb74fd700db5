"""`bench doctor --speed`: kernels side by side on this GPU, and what drawing a batch of prompts takes."""

from __future__ import annotations

from typing import Any

from bench.cli import format
from bench.cli.format import Column
from bench.errors import UserError

BATCH = 64


def show_kernel_speeds(as_json: bool) -> None:
    """Measure and print.

    Raises:
        UserError: where there is no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise UserError("doctor --speed times kernels on an NVIDIA GPU, and this machine has none")
    from bench.kernels import speed

    device = torch.device("cuda", torch.cuda.current_device())
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(device),
        "torch": torch.__version__,
        "copy_bytes_per_second": speed.copy_bandwidth(device),
        "batch_size": speed.BATCH,
        "kernels": [vars(one) for one in speed.measure(device)],
        "sampling": _sampling(device),
    }
    if as_json:
        format.Output().json(found)
    else:
        _show(found)


def _sampling(device: Any) -> list[dict[str, Any]]:
    """Microseconds to draw one training batch of every task, in a captured graph."""
    import torch

    from bench.kernels.speed import microseconds
    from bench.tasks import TASKS
    from bench.tasks.draws import Draws

    draws = Draws(0, "train", torch.zeros((), dtype=torch.int64, device=device))
    return [
        {"task": name, "microseconds": microseconds(lambda task=task: task().batch(draws, BATCH))}  # type: ignore[misc]
        for name, task in TASKS.items()
    ]


def _show(found: dict[str, Any]) -> None:
    out = format.Output()
    copy = found["copy_bytes_per_second"] / 1e12
    out.say(f"{found['device']}, torch {found['torch']}; a copy moves {copy:.2f} TB/s")
    for kernel in dict.fromkeys(one["kernel"] for one in found["kernels"]):
        of_kernel = [one for one in found["kernels"] if one["kernel"] == kernel]
        names = list(dict.fromkeys(one["backend"] for one in of_kernel))
        times = {(one["channels"], one["length"], one["backend"]): one["microseconds"] for one in of_kernel}
        columns = [Column(name, number=True) for name in ("channels", "tokens", *names)]
        rows = [
            (str(channels), str(length), *(_microseconds(times[channels, length, name]) for name in names))
            for channels, length in dict.fromkeys((one["channels"], one["length"]) for one in of_kernel)
        ]
        title = f"{kernel}: forward and backward of {found['batch_size']} prompts, µs"
        out.print(format.table(out, columns, rows, title=title))
    rows = [(one["task"], _microseconds(one["microseconds"])) for one in found["sampling"]]
    title = f"Drawing a batch of {BATCH} prompts, µs"
    out.print(format.table(out, [Column("task"), Column("µs", number=True)], rows, title=title))


def _microseconds(value: float | None) -> str:
    return "out of memory" if value is None else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
