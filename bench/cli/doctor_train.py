"""`bench doctor --train N`: whether every kernel backend trains the same model to the same losses."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.text import Text

from bench.cli import printing
from bench.cli.printing import VERDICT_STYLES, Column

if TYPE_CHECKING:
    from bench.train.backends_agree import Agreement


def show_agreement(steps: int, as_json: bool) -> int:
    """Train, compare and print; return the exit code: 1 if a backend trains differently."""
    import torch

    from bench.train.backends_agree import BATCH, COMPARED_STEPS, SLACK, compare

    torch.set_num_threads(1)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", torch.cuda.current_device())
    out = printing.Output()
    agreements = []
    for agreement in compare(device, steps):
        if not as_json:
            out.say(_line(agreement))  # the table may be minutes away
        agreements.append(agreement)
    if as_json:
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
        out.json({"device": name, "steps": steps, "trained": [asdict(agreement) for agreement in agreements]})
    else:
        columns = [Column("architecture"), Column("backend"), Column("difference", number=True)]
        columns += [
            Column("loss", number=True),
            Column("steps/s", number=True),
            Column("verdict", folds=True),
        ]
        compared = min(COMPARED_STEPS, steps)
        title = f"{steps:,} steps of {BATCH[device.type]} prompts on {device}, with every backend"
        out.print(printing.table(out, columns, [_row(agreement) for agreement in agreements], title=title))
        out.say(
            f"difference: largest relative difference of a step's loss from the reference's, over the first "
            f"{compared} steps. Allowed is {SLACK:g} times the difference that a change of the reference's "
            f"weights in their last bit makes. loss: mean of the last {compared} steps."
        )
    return 1 if any(agreement.agrees is False for agreement in agreements) else 0


def _line(agreement: Agreement) -> str:
    _, _, difference, loss, speed, verdict = map(str, _row(agreement))
    numbers = [f"difference {difference}"] if difference else []
    numbers += [f"loss {loss}"] if loss else []
    numbers += [f"{speed} steps/s"] if speed else []
    return (
        f"{agreement.architecture} with {agreement.backend}: {', '.join(filter(None, [*numbers, verdict]))}"
    )


def _row(agreement: Agreement) -> tuple[printing.Cell, ...]:
    if agreement.unavailable:
        verdict = Text(f"not available: {agreement.unavailable}", VERDICT_STYLES["not available"])
        return agreement.architecture, agreement.backend, "", "", "", verdict
    difference = "" if agreement.difference is None else f"{agreement.difference:.1e}"
    numbers = (
        difference,
        "" if agreement.loss is None else f"{agreement.loss:.5g}",
        f"{agreement.steps_per_second:,.1f}",
    )
    word = "" if agreement.agrees is None else "agrees" if agreement.agrees else "disagrees"
    return agreement.architecture, agreement.backend, *numbers, Text(word, VERDICT_STYLES.get(word, ""))
