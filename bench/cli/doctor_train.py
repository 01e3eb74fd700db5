"""`bench doctor --train N`: whether every kernel backend trains the same model to the same losses."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.text import Text

from bench.cli import format
from bench.cli.doctor import VERDICT_STYLES
from bench.cli.format import Column

if TYPE_CHECKING:
    from bench.train.backends_agree import Agreement


def show_agreement(steps: int, as_json: bool) -> int:
    """Train, compare and print; exit code 1 when a backend trains differently."""
    import torch

    from bench.train.backends_agree import BATCH, COMPARED_STEPS, SLACK, compare

    torch.set_num_threads(1)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
    out = format.Output()
    found = []
    for one in compare(device, steps):
        if not as_json:
            out.say(_line(one))  # the table may be minutes away
        found.append(one)
    if as_json:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        out.json({"device": name, "steps": steps, "trained": [asdict(one) for one in found]})
    else:
        columns = [Column("architecture"), Column("backend"), Column("difference", number=True)]
        columns += [
            Column("loss", number=True),
            Column("steps/s", number=True),
            Column("verdict", folds=True),
        ]
        compared = min(COMPARED_STEPS, steps)
        title = f"{steps:,} steps of {BATCH[device.type]} prompts on {device}, with every backend"
        out.print(format.table(out, columns, [_row(one) for one in found], title=title))
        out.say(
            f"difference: the largest of a step's loss from the reference's over the first {compared} steps, "
            f"relative; up to {SLACK:g} times what moving the reference's weights by their last bit makes. "
            f"loss: mean of the last {compared} steps."
        )
    return 1 if any(one.agrees is False for one in found) else 0


def _line(one: Agreement) -> str:
    _, _, difference, loss, speed, verdict = map(str, _row(one))
    numbers = [f"difference {difference}"] if difference else []
    numbers += [f"loss {loss}"] if loss else []
    numbers += [f"{speed} steps/s"] if speed else []
    return f"{one.architecture} with {one.backend}: {', '.join(filter(None, [*numbers, verdict]))}"


def _row(one: Agreement) -> tuple[format.Cell, ...]:
    if one.unavailable:
        verdict = Text(f"not available: {one.unavailable}", VERDICT_STYLES["not available"])
        return one.architecture, one.backend, "", "", "", verdict
    difference = "" if one.difference is None else f"{one.difference:.1e}"
    numbers = difference, "" if one.loss is None else f"{one.loss:.5g}", f"{one.steps_per_second:,.1f}"
    word = "" if one.agrees is None else "agrees" if one.agrees else "disagrees"
    return one.architecture, one.backend, *numbers, Text(word, VERDICT_STYLES.get(word, ""))
