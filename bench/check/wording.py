"""Quantities of claims in words, for people who have not read the claims file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.check.quantity import LayersAndWidth, Quantity
from bench.digits import scientific, short
from bench.models.sizes import size_text
from bench.results.evaluations import headline_words
from bench.results.horizon import HORIZON_ACCURACY
from bench.results.record import MAIN
from bench.run import Run
from bench.words import architecture_name, options_in_words, setting_in_words, task_name, title_of

_METRICS = {
    "squared_error": "squared error",
    "accuracy": "accuracy",
    "cross_entropy": "cross-entropy in nats",
    "total_variation": "total variation",
    "kl_divergence": "KL divergence in nats",
}
_NUMBERS = {
    "perplexity": "perplexity",
    "excess": "excess error (0: best known predictor, 1: trivial predictor)",
    "convergence_step": "training steps until the task is learned",
    "horizon": f"positions up to the last with an accuracy of at least {HORIZON_ACCURACY:g}",
    "training_flops": "training FLOPs",
}
"""What `Quantity.of` means, where the task's metric does not matter."""
_PROTOCOLS = {"paper": "as in the text", "released_code": "as in the released code"}
_OF_THE_NUMBER = ("of", "at", "evaluation", "step", "at_flops", "over_seeds")
"""Fields of a quantity that select the number. Others select the runs."""


def in_words(quantity: Quantity) -> str:
    """The fields that are set, in words: "DeltaNet, β < 2, 1×64, at the last position"."""
    names = quantity.model_fields_set
    values = {name: getattr(quantity, name) for name in type(quantity).model_fields if name in names}
    parts = (_field(name, value, values) for name, value in values.items() if value is not None)
    return ", ".join(filter(None, parts))


def runs_in_words(quantity: Quantity) -> str:
    """The fields that select the runs, in words: "Parity eigenvalues, DeltaNet, β < 2"."""
    names = quantity.model_fields_set - {*_OF_THE_NUMBER, "relative_to", "minus"}
    return in_words(Quantity(**{name: getattr(quantity, name) for name in names}))


def is_of_the_same_runs(reference: Quantity) -> bool:
    """Whether a reference is another number of the runs that it is compared with."""
    return reference.model_fields_set <= set(_OF_THE_NUMBER)


def number_in_words(quantity: Quantity, runs: Sequence[Run]) -> str:
    """Which number of its runs a quantity is: "1 − accuracy at the last position".

    Args:
        quantity: the quantity.
        runs: its runs, which have one task; none if nothing is planned.
    """
    number, place = _number(quantity, runs), _place(quantity, runs)
    if quantity.of in ("horizon", "convergence_step", "training_flops"):
        place = ""
    separator = ", " if place.startswith("mean") else " " if place else ""
    parts = [f"{number}{separator}{place}"]
    if quantity.evaluation != MAIN:
        parts.append(f"({quantity.evaluation.replace('_', ' ')})")
    if quantity.step is not None:
        parts.append(f"after {quantity.step:,} steps")
    if quantity.at_flops is not None:
        parts.append(f"at {scientific(quantity.at_flops)} FLOPs")
    if quantity.over_seeds == "lowest":
        parts[-1] += ", in the seed in which it is lowest"
    return " ".join(parts)


def _number(quantity: Quantity, runs: Sequence[Run]) -> str:
    if quantity.of in _NUMBERS:
        return _NUMBERS[quantity.of]
    metric: str = "squared_error"
    if runs:
        evaluation = runs[0].evaluations().get(quantity.evaluation)
        own = evaluation.metric if evaluation else None
        metric = own or runs[0].task.metric
    if quantity.of == "score":
        return _METRICS[metric]
    return "1 − accuracy" if metric == "accuracy" else "normalised error"


def _place(quantity: Quantity, runs: Sequence[Run]) -> str:
    """Where in the prompt a score is read."""
    if quantity.at == "headline" and runs:
        return headline_words(runs[0].task.headline)
    if isinstance(quantity.at, int):
        return f"at position {quantity.at}"
    return headline_words(None if quantity.at == "mean" else quantity.at)


def _field(field: str, value: Any, others: Iterable[str]) -> str:
    """A field in words; empty where `others`, the fields that are set, say the same."""
    if isinstance(value, Quantity):
        return f"{'less' if field == 'minus' else 'over'} {in_words(value)}"
    if isinstance(value, LayersAndWidth):
        return size_text(value)
    if isinstance(value, dict):
        return ", ".join(_named(field, value))
    if field == "experiment":
        return title_of(value)
    if field == "protocol":
        return _PROTOCOLS[value]
    if field == "at":
        return "" if value == "headline" else _place(Quantity(at=value), ())
    if field == "evaluation":
        if value == MAIN:
            return "on prompts as trained"
        # A multiple of the trained length names its prompts.
        return "" if value == "longer_prompts" and "at" in others else str(value).replace("_", " ")
    if field == "of":
        return _NUMBERS.get(value, str(value))
    if field == "step":
        return f"after {value:,} steps"
    if field == "at_flops":
        return f"at {scientific(value)} FLOPs"
    if field == "over_seeds":
        return f"{value} of the seeds"
    if field in ("rebuilds", "size"):
        return str(value)
    return setting_in_words(field, short(value) if isinstance(value, float) else str(value))


def _named(field: str, value: dict[str, Any]) -> list[str]:
    """The name of a task, an architecture or an optimizer, then its settings."""
    full = str(value["name"])
    names = {"task": [task_name(full)]}
    if field == "architecture":
        names[field] = [architecture_name(full.partition("+")[0]), *options_in_words(full)]
    options = {key: option for key, option in value.items() if key != "name"}
    return [
        *names.get(field, [full]),
        *(setting_in_words(key, str(option)) for key, option in options.items()),
    ]
