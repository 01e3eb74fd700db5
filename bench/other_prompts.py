"""Score models whose weights were kept on other prompts than those of their run.

The prompts are those of a task: the run's with other settings (more points, fewer dimensions, more outliers),
or another task of the same kind of tokens, such as a user's. They are the test prompts on which a run of that
task is scored, so both can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import environment
from bench.api import make_task
from bench.errors import UserError, check_type
from bench.files import as_read
from bench.json_data import digest
from bench.results import FORMAT, task_facts
from bench.results.record import MAIN, EvaluationRecord
from bench.results.store import path_of_evaluation, store_evaluation
from bench.run import MOST_PROMPTS, Run
from bench.tasks import Task

if TYPE_CHECKING:
    from torch import Tensor

    from bench.train.weights import KeptModel


def evaluate_model(
    which: str | Path,
    results: str | Path = "results",
    *,
    task: str | Task | None = None,
    prompts: int | None = None,
    device: str = "cpu",
    kernels: str = "auto",
    store: bool = False,
    **settings: Any,
) -> EvaluationRecord:
    """Score a kept model on other prompts.

    Args:
        which: the id of a run, its beginning, its label, or the path of its result file.
        results: the folder of results, where an id is looked up.
        task: another task, or its name; None for the run's.
        prompts: number of prompts of each evaluation; None for the run's.
        device: "cpu", "cuda" or "cuda:1".
        kernels: a backend of the kernels, as for `bench run --kernels`.
        store: whether to write the scores into a file beside the result. The result does not change.
        settings: fields of the task, such as `n_points=82`, in place of the run's.

    Returns:
        The scores of every evaluation of the task. They are not normalised (`facts.error_scale`).

    Raises:
        UserError: there are no kept weights, an argument or a setting does not fit, or the model is not
            defined on these prompts.
    """
    from bench.dispatch.alone import checked_device
    from bench.kernels.backends import resolve
    from bench.train.weights import load_trained

    check_type("task", task, str | Task | None, "a task, its name, or None")
    check_type("store", store, bool, "True or False")
    device = checked_device(device, kernels)
    kept = load_trained(which, results, resolve(kernels, device)[0])
    other = other_task(kept.run.task, task, settings)
    count = kept.run.evaluation_prompts if prompts is None else prompts
    if fault := misfit(kept.run, other) or _count_fault(other, count):
        raise UserError(f"run {kept.run.id}: {fault}")
    value = _scored(kept, other, count, device)
    record = EvaluationRecord.model_validate(value)
    if store:
        path = path_of_evaluation(kept.path, record.facts.task_id)
        try:
            store_evaluation(path, value)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror})") from None
    return record


def other_task(trained: Task, task: str | Task | None, settings: Mapping[str, Any]) -> Task:
    """The task of the other prompts: the run's or another one, with some settings replaced.

    Raises:
        UserError: no task has this name, or a setting does not fit.
    """
    if isinstance(task, Task):
        base: Task | None = task
    else:
        base = trained if task in (None, trained.name) else None
    if base is None:
        return make_task(str(task), **settings)
    if not settings:
        return base
    fields = {key: value for key, value in base.model_dump(mode="json").items() if key != "name"}
    return make_task(base.name, **{**fields, **settings})


def misfit(run: Run, task: Task) -> str | None:
    """Why the model of a run is not defined on the prompts of a task; None if it is."""
    trained = run.task
    if task.discrete != trained.discrete:
        return f"its tokens are {_kind(trained)}, those of {task.name} are {_kind(task)}"
    own, other = _widths(trained), _widths(task)
    if task.discrete and own != other:
        return f"it has {own[0]} different tokens, {task.name} has {other[0]}"
    if len(own) != len(other) or any(wide > most for wide, most in zip(other, own, strict=True)):
        return f"its tokens have width {_listed(own)}, those of {task.name} have {_listed(other)}"
    if task.n_outputs != trained.n_outputs:
        return f"its predictions have width {trained.n_outputs}, those of {task.name} have {task.n_outputs}"
    length, longest = task.full_length, trained.full_length
    if length > longest and (why := run.architecture.length_fault):
        return f"{run.architecture.name} is not defined on {length} tokens, only up to {longest}: {why}"
    return None


def _widths(task: Task) -> tuple[int, ...]:
    return (task.n_inputs,) if isinstance(task.n_inputs, int) else task.n_inputs


def _listed(widths: tuple[int, ...]) -> str:
    return " and ".join(map(str, widths))


def _kind(task: Task) -> str:
    return "discrete" if task.discrete else "vectors"


def _count_fault(task: Task, count: Any) -> str | None:
    most = task.most_evaluation_prompts
    if not isinstance(count, int) or isinstance(count, bool) or count > MOST_PROMPTS:
        return f"prompts: expected a whole number up to {MOST_PROMPTS:,}, got {count!r}"
    if count <= task.dependent_prompts:
        return f"a standard error needs at least {task.dependent_prompts + 1} prompts, got {count}"
    return f"the task '{task.name}' has {most} prompts, got {count}" if most and count > most else None


@dataclass
class _Padded:
    """Predictions of one model (`bench.train.evaluate.Predictor`), also for tokens narrower than its own.

    The missing coordinates are zero, as the later coordinates are early in a curriculum.
    """

    model: Any
    width: int | None

    def share(self, tokens: Tensor) -> None:
        """Do nothing: there is one model."""

    def predict(self, member: int, tokens: Tensor) -> Tensor:
        from torch.nn.functional import pad

        wide = tokens if self.width is None else pad(tokens, (0, self.width - tokens.shape[-1]))
        outputs: Tensor = self.model(wide)
        return outputs


def _scored(kept: KeptModel, task: Task, count: int, device: str) -> dict[str, Any]:
    """The scores as a file has them.

    Raises:
        UserError: the model fails on these prompts, or a score is not finite.
    """
    import torch

    from bench.train.evaluate import member_scores
    from bench.train.evaluation_prompts import evaluation_set
    from bench.train.summaries import headline, summary

    run = kept.run
    model = kept.model.to(device)
    predictor = _Padded(model, None if task.discrete else max(_widths(run.task)))
    evaluations: dict[str, Any] = {}
    prompts = {}
    for purpose in (MAIN, *task.other_evaluations):
        try:
            drawn = evaluation_set(task, purpose, count)
            (measured,) = member_scores(predictor, [0], model, task, drawn, torch.device(device))
        except Exception as error:  # a user's block or task may raise anything, and memory may not suffice
            why = f"{type(error).__name__}: {error}"
            raise UserError(f"run {run.id}: fails on these prompts: {why}") from error
        prompts[purpose] = {"count": drawn.count, "sha256": drawn.sha256}
        for name, scores in measured.items():
            if not scores.finite:
                raise UserError(f"run {run.id}: scores on '{name}' are not finite on these prompts")
            evaluations[name] = summary(scores, headline(task, name, scores), positions=True)
    assert kept.result.provenance.weights is not None
    return {
        "format": FORMAT,
        "kind": "evaluation",
        "id": run.id,
        "weights_sha256": kept.result.provenance.weights.sha256,
        "task": task.identity(),
        "facts": as_read(task_facts(task, digest({"task": task.identity(), "evaluation_prompts": count}))),
        "prompts": prompts,
        "evaluations": evaluations,
        "provenance": {"finished": round(time.time(), 3), **environment.describe(device)},
    }
