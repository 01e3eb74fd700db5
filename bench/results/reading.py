"""From a parsed result file to its record, or to its faults in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from bench.json_data import digest
from bench.results.record import FORMAT, MAIN, BaselinesRecord, EvaluationRecord, Record, RunRecord

KINDS: dict[str, type[RunRecord] | type[BaselinesRecord]] = {"run": RunRecord, "baselines": BaselinesRecord}


class NotARecord(ValueError):
    """A value that is not a result. The message lists its faults, field by field."""


def read(value: Any) -> Record:
    """The record of a parsed result file.

    Raises:
        NotARecord: when it is not a whole result, or its id is not that of what was run.
    """
    if not isinstance(value, dict) or "format" not in value or "kind" not in value:
        raise NotARecord("is not a result of bench")
    if value["format"] != FORMAT:
        raise NotARecord(f"has format {_shown(value['format'])}, this version of bench reads {FORMAT}")
    kind = value["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise NotARecord(f"is of unknown kind {_shown(kind)}")
    try:
        record = KINDS[kind].model_validate(value)
    except ValidationError as error:
        raise NotARecord(in_words(error)) from None
    if fault := _identity_fault(record, value):
        raise NotARecord(fault)
    return record


def read_run(value: Any) -> RunRecord:
    """`read` of what must be a run's result."""
    record = read(value)
    if not isinstance(record, RunRecord):
        raise NotARecord("holds baselines, not a run")
    return record


def read_evaluation(value: Any) -> EvaluationRecord:
    """The record of a model's scores on other prompts.

    Raises:
        NotARecord: when the value is no such record.
    """
    try:
        return EvaluationRecord.model_validate(value)
    except ValidationError as error:
        raise NotARecord(in_words(error)) from None


def _identity_fault(record: Record, value: dict[str, Any]) -> str | None:
    """Which id does not match the run that the file records; None when all match.

    Ids are recomputed from the file's JSON alone: the classes of a plugin need not be installed.
    """
    try:
        if isinstance(record, RunRecord):
            task, prompts = value["run"]["task"], record.run.evaluation_prompts
            if (true := digest(value["run"])) != record.id:
                return f"id {record.id} is not that of the run it records, {true}: changed after training"
        else:
            task, prompts = value["task"], record.prompts[MAIN].count
        task_id = digest({"task": task, "evaluation_prompts": prompts})
    except ValueError:
        return "run has a number that is not finite"
    for stated in {record.facts.task_id, *([] if isinstance(record, RunRecord) else [record.id])}:
        if stated != task_id:
            return f"task id {stated} is not that of the task it records, {task_id}"
    return None


MOST_FAULTS = 3
"""A message names at most this many faulty fields; absent fields are all named."""


def in_words(error: ValidationError) -> str:
    """All faults of a file in one line: absent fields, then faulty ones."""
    faults = error.errors(include_url=False)
    absent = sorted(_path(fault["loc"]) for fault in faults if fault["type"] == "missing")
    wrong = [_fault(fault) for fault in faults if fault["type"] != "missing"]
    if len(wrong) > MOST_FAULTS:
        wrong[MOST_FAULTS:] = [f"{len(wrong) - MOST_FAULTS} more"]
    return "; ".join([*([f"lacks {', '.join(absent)}"] if absent else []), *wrong])


def _fault(fault: Any) -> str:
    place = _path(fault["loc"])
    if fault["type"] == "value_error":
        return f"{place}: {fault['ctx']['error']}" if place else str(fault["ctx"]["error"])
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return f"{place}: {message}, not {_shown(fault['input'])}"


def _path(place: Sequence[str | int]) -> str:
    """A field's place in a file: `checkpoints[0].evaluations.report.mean`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
