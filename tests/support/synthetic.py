"""Made-up results for tests: the files of `bench.results`, each marked `"synthetic": true` in its provenance.

Nothing here was trained or measured. The numbers follow simple closed forms, so that a test can say
what a report has to show.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.check.claim import Claim
from bench.check.kinds import KINDS
from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import Size
from bench.plan.time import TimeEstimate
from bench.results import (
    FORMAT,
    BaselinesRecord,
    Pool,
    RunRecord,
    path_of,
    path_of_baselines,
    read_run,
    run_facts,
    store,
    task_facts,
)
from bench.results.reading import read
from bench.run import Run
from bench.speed.records import Record, Row, flops_per_step, shape_of
from bench.suite import Experiment, Suite
from bench.tasks import TASKS
from bench.tasks.task import Task

PROMPTS = {
    "report": {"count": 1280, "sha256": "a" * 64},
    "selection": {"count": 1280, "sha256": "b" * 64},
}


def prompts_of(run: Run) -> dict[str, Any]:
    return {name: {**prompts, "count": run.evaluation_prompts} for name, prompts in PROMPTS.items()}


def suite_of(*experiments: Experiment, name: str = "synthetic", description: str = "Made up.") -> Suite:
    return Suite(name, description, Path("suites/synthetic.yaml"), experiments)


def experiment_of(runs: Iterable[Run], name: str = "figure2", **texts: str) -> Experiment:
    return Experiment(name, texts.get("rebuilds", "Figure 2"), texts.get("description", ""), tuple(runs))


def task_named(name: str = "linear_regression", **fields: Any) -> Task:
    return TASKS[name](**fields)  # type: ignore[call-arg]


def run_of(
    task: Task | None = None,
    architecture: str = "mamba",
    layers: int = 4,
    width: int = 256,
    learning_rate: float = 1e-4,
    **fields: Any,
) -> Run:
    """One run of 500,000 steps with the paper's three checkpoints, unless told otherwise."""
    steps = fields.pop("steps", 500_000)
    size = Size(layers=layers, width=width).of(ARCHITECTURES[architecture])
    return Run(
        task=task or task_named(),
        architecture=ARCHITECTURES[architecture],
        size=size,
        learning_rate=learning_rate,
        steps=steps,
        checkpoints=fields.pop("checkpoints", (steps // 5, 3 * steps // 5, steps)),
        **fields,
    )


def grid(
    task: Task,
    architectures: Iterable[str] = ("transformer", "mamba"),
    sizes: Iterable[tuple[int, int]] = ((4, 256),),
    learning_rates: Iterable[float] = (1e-4,),
    seeds: Iterable[int] = (0,),
    **fields: Any,
) -> tuple[Run, ...]:
    sizes, learning_rates, seeds = tuple(sizes), tuple(learning_rates), tuple(seeds)
    return tuple(
        run_of(task, architecture, layers, width, rate, seed=seed, **fields)
        for architecture in architectures
        for layers, width in sizes
        for rate in learning_rates
        for seed in seeds
    )


def result_of(
    run: Run,
    errors: Sequence[float] | float | None = None,
    *,
    selection: float | None = None,
    outcome: str = "finished",
    prompts: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    noise: float = 1.0,
) -> dict[str, Any]:
    """The result of `run`.

    Args:
        run: the run.
        errors: normalised error (or accuracy) at every position of the last checkpoint, or one number
            for all of them; a smooth curve when None.
        selection: normalised error (or accuracy) on the selection prompts; that on the report
            prompts when None.
        outcome: "finished", or "diverged" (which leaves no checkpoint).
        prompts: digests, where they are not the usual ones.
        provenance: fields that replace the usual ones.
        noise: factor of all standard errors, and of what tells prompts apart. With 0 every number is exact.
    """
    task = run.task
    final = _positions(run, errors)
    checkpoints = []
    for step in run.checkpoints if outcome == "finished" else ():
        slower = 1.0 if errors is not None else (run.steps / step) ** 0.5
        scores = [_score(task, value, slower) for value in final]
        report = scores_of(task, scores, noise=noise)
        chosen = report["headline"][0] if selection is None else _score(task, selection, 1.0)
        others = {
            name: scores_of(task, scores[-1:] * len(one.positions), name, noise)
            for name, one in (run if step == run.steps else task).evaluations().items()
            if name != "report"
        }  # fmt: skip
        checkpoints.append(
            {
                "step": step,
                "training_flops": run.training_flops(step),
                "training_flops_full_length": run.training_flops_full_length(step),
                "evaluations": {
                    "report": report,
                    "selection": {key: [chosen, 0.01 * noise * chosen] for key in ("overall", "headline")},
                    **others,
                },
            }
        )
    learned = task.convergence_accuracy
    reached = [
        each["step"] for each in checkpoints
        if learned is not None and each["evaluations"]["report"]["overall"][0] >= learned
    ]  # fmt: skip
    return {
        "format": FORMAT,
        "kind": "run",
        "id": run.id,
        "outcome": outcome,
        "reason": None if outcome == "finished" else "the loss was not finite at step 1,234",
        "run": run.identity(),
        "facts": run_facts(run),
        "checkpoints": checkpoints,
        "convergence_step": reached[0] if reached else None,
        "per_prompt": {"report": per_prompt_of(run, checkpoints, noise)},
        "prompts": dict(prompts or prompts_of(run)),
        "curve": {"step": [0], "loss": [task.trivial], "gradient_norm": [1.0]},
        "provenance": {
            "synthetic": True,
            "device": "no device",
            "commit": "0123456789abcdef",
            "dirty": False,
            "python": "3.12.0",
            "packages": {"torch": "2.11.0"},
            "scan": "reference",
            "steps_per_second": 100.0,
            "train_seconds": 5000.0,
            "started": 1_767_000_000.0,
            "finished": 1_767_005_400.0,
            **(provenance or {}),
        },
    }


def scores_of(task: Task, mean: Sequence[float], name: str = "report", noise: float = 1.0) -> dict[str, Any]:
    """The scores of one evaluation from its mean at every position."""
    overall = sum(mean) / len(mean)
    described = task.evaluations().get(name) or task.longer_evaluations()[name].description
    marks = described.marks
    at = mean[marks[task.headline]] if task.headline in marks else overall
    return {
        "mean": list(mean),
        "standard_error": [0.04 * noise * score for score in mean],
        "overall": [overall, 0.01 * noise * overall],
        "headline": [at, (0.04 if task.headline in marks else 0.01) * noise * at],
    }


def per_prompt_of(run: Run, checkpoints: Sequence[Mapping[str, Any]], noise: float = 1.0) -> str:
    """Each independent prompt's headline score: hard prompts are hard for every model alike."""
    if not checkpoints:
        return ""
    score = checkpoints[-1]["evaluations"]["report"]["headline"][0]
    count = math.ceil(run.evaluation_prompts / run.task.dependent_prompts)
    hard, own = (
        np.random.default_rng(zlib.crc32(key.encode())).standard_normal(count)
        for key in (run.task_id, run.id)
    )
    factors = np.exp(noise * PROMPT_SPREAD * (hard + own / 6))
    return base64.b64encode((score * factors / factors.mean()).astype("<f4").tobytes()).decode()


PROMPT_SPREAD = 1.0
"""Of 1,280 prompts it gives a mean error the standard error of about 3.5 %."""


def baselines_of(run: Run) -> dict[str, Any]:
    """Baselines of the run's task: a constant, a floor that reaches zero (or one), and one in between."""
    task, n = run.task, run.task.n_points
    d = getattr(task, "n_dims", 20)
    accuracy = task.metric == "accuracy"
    scale = task.error_scale

    def known(name: str, kind: str, values: list[float], every: int = 1) -> dict[str, Any]:
        positions = list(range(0, n, every))
        mean = [values[position] for position in positions]
        return {
            "name": name,
            "kind": kind,
            "positions": positions,
            "mean": mean,
            "standard_error": [0.02 * value for value in mean],
            "prompts": 1280,
            "seconds": 0.1,
        }

    floor = [1 - 0.5 * math.exp(-i) if accuracy else scale * max(0.0, 1 - i / d) for i in range(n)]
    between = [0.7 if accuracy else scale * max(0.3, 1 - i / (3 * d)) for i in range(n)]
    return {
        "format": FORMAT,
        "kind": "baselines",
        "id": run.task_id,
        "task": task.identity(),
        "facts": task_facts(run.task, run.task_id),
        "prompts": prompts_of(run),
        "baselines": [
            known("zero", "trivial", [task.trivial] * n),
            known("least squares", "floor", floor),
            known("3 nearest neighbours", "baseline", between, every=5),
        ],
        "provenance": {"synthetic": True},
    }


def pool_of(runs: Iterable[Run], **arguments: Any) -> Pool:
    """A pool with a result for each of `runs` and baselines for each task."""
    runs = tuple(runs)
    return pool_with(
        {run.id: result_of(run, **arguments) for run in runs},
        {run.task_id: baselines_of(run) for run in runs},
    )


def claim_of(fields: Mapping[str, Any]) -> Claim:
    """A claim from what a claims file would say, of the kind that is among its keys.

    Unless told otherwise it is about the runs themselves, which takes one seed.
    """
    (kind,) = KINDS.keys() & fields.keys()
    requires = {"about": "these runs", **fields.get("requires", {})}
    return KINDS[kind].model_validate({**fields, "requires": requires})


def record_of(result: dict[str, Any]) -> RunRecord:
    """The record of a run's result as it reads back from its file."""
    return read_run(_as_read(result))


def baselines_record_of(result: dict[str, Any]) -> BaselinesRecord:
    """The record of a task's baselines as it reads back from its file."""
    record = read(_as_read(result))
    assert isinstance(record, BaselinesRecord)
    return record


def _as_read(value: Any) -> Any:
    """A value as JSON returns it, with lists for tuples, sooner than through its text."""
    if type(value) in (str, float, int, bool, type(None)):
        return value
    if isinstance(value, list | tuple):
        kinds = set(map(type, value))
        return list(value) if kinds <= {float} or kinds <= {int} else [_as_read(entry) for entry in value]
    assert isinstance(value, Mapping), value
    return {str(key): _as_read(entry) for key, entry in value.items()}


def pool_with(
    runs: Mapping[str, dict[str, Any]] | None = None, baselines: Mapping[str, dict[str, Any]] | None = None
) -> Pool:
    """A pool of results as they are in files, by id."""
    return Pool(
        runs={key: record_of(result) for key, result in (runs or {}).items()},
        baselines={key: baselines_record_of(result) for key, result in (baselines or {}).items()},
    )


def write_pool(results: Path, runs: Iterable[Run], **arguments: Any) -> None:
    """Write results and baselines of `runs` as files under `results`."""
    for run in runs:
        store(path_of(results, run), result_of(run, **arguments))
        store(path_of_baselines(results, run.task.name, run.task_id), baselines_of(run))


def _positions(run: Run, errors: Sequence[float] | float | None) -> list[float]:
    n = len(run.task.evaluations()["report"].positions)
    if isinstance(errors, int | float):
        return [float(errors)] * n
    if errors is not None:
        return [float(error) for error in errors]
    skill = _SKILL.get(run.architecture.name, 1.0) * (run.parameters / 1e6) ** 0.3
    rate = abs(math.log(run.learning_rate / 2e-4)) / 4
    skill *= math.exp(-rate) * (1 + 0.02 * run.seed)
    if run.task.metric == "accuracy":
        return [1 - 0.5 * math.exp(-skill * i / n * 4) for i in range(n)]
    return [max(0.004 / skill, math.exp(-3 * skill * i / n)) for i in range(n)]


def _score(task: Task, value: float, slower: float) -> float:
    """A normalised error (or accuracy) as a raw score, as it was `slower` times earlier in training."""
    if task.metric == "accuracy":
        return 1 - min(0.5, (1 - value) * slower)
    return task.error_scale * min(1.05, value * slower)


_SKILL = {
    "transformer": 1.3,
    "mamba": 1.2,
    "s4_mamba": 0.9,
    "s4": 0.5,
    "standard_hybrid": 1.5,
    "mambaformer": 1.7,
}


def of_steps(estimate: TimeEstimate) -> tuple[float, str, int]:
    """The seconds of an estimate without those of evaluations, its basis, and the members of the stack."""
    assert estimate.seconds is not None
    return round(estimate.seconds - estimate.evaluation_seconds, 6), estimate.basis, estimate.members


def speed_record(run: Run, *times: tuple[int, float], device: str = "this device", **fields: Any) -> Record:
    """What `bench speed` would have measured: milliseconds per step by members."""
    rows = [
        Row(shape_of(run), run.task.name, run.size.heads, members, "triton", flops_per_step(run), ms, 9.0, 99)
        for members, ms in times
    ]
    return Record(device, "gpu", 80_000, rows=tuple(rows), **fields)
