"""A made-up result for every run of the paper's grid, to see every figure and table filled.

Every file is marked `"synthetic": true`. Nothing here was trained or measured: errors follow closed forms
that give each architecture the standing the paper's words give it. Tasks and architectures that this
version of bench lacks are stood in for by ones of the same name that can be planned, not trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from synthetic import result_of

from bench import suite as suites
from bench.models.architectures import ARCHITECTURES, Architecture
from bench.models.sizes import SIZE_GROUPS, Size
from bench.results import Pool
from bench.run import AdamW, Run
from bench.suite import Experiment, Suite
from bench.tasks import TASKS
from bench.tasks.draws import Draws
from bench.tasks.task import Prompts, Task

ROOT = Path(__file__).parent.parent


class StandIn(Task):
    """A task that can be planned and costed, and never drawn."""

    n_dims: int = 20
    n_points: int = 101
    curriculum: None = None
    tokens: int = 2
    divisor: float = 20.0
    hidden: int | None = None
    n_queries: int | None = None

    @property
    def n_inputs(self) -> int:
        return self.n_dims

    @property
    def error_scale(self) -> float:
        return self.divisor

    def length(self, n_points: int) -> int:
        return self.tokens * n_points

    def sample(self, draws: Draws, batch: int, n_dims: Any = None) -> Prompts:
        raise NotImplementedError("a stand-in is never drawn")

    losses = predictions = scores = baselines = sample  # type: ignore[assignment]


def task(name: str, **fields: Any) -> Task:
    """The task of this name, or what stands in for it."""
    if name in TASKS:
        known = {key: value for key, value in fields.items() if key in TASKS[name].model_fields}
        return TASKS[name](**known)  # type: ignore[call-arg]
    return StandIn(name=name, **fields)


def architecture(name: str) -> Architecture:
    """The architecture of this name, or what stands in for it."""
    base = {"transformer_without_positions": "transformer"}.get(name, "mamba")
    return ARCHITECTURES.get(name) or ARCHITECTURES[base].model_copy(update={"name": name})


OUTLIERS = {
    "facts": {
        "headline": "50th_clean",
        "evaluations": {
            "report": {
                "positions": list(range(1, 101, 2)),
                "axis": "clean in-context examples",
                "marks": {"50th_clean": 49, "last": 49},
                "error_scale": 20.0,
                "trivial": 20.0,
            },
            "clean_prompts": {
                "positions": list(range(101)),
                "axis": "in-context examples",
                "marks": {"50th_clean": 49, "after_50_clean": 50, "last": 100},
                "error_scale": 20.0,
                "trivial": 20.0,
            },
        },
    }
}
"""What results of outlier tasks say of their evaluations."""
LEARNED = {"facts": {"convergence_accuracy": 0.95}}


def runs(
    tasks: Iterable[Task],
    names: Iterable[str],
    sizes: Iterable[Size],
    rates: Iterable[float] = (5e-5, 1e-4, 2e-4, 4e-4),
    steps: int = 500_000,
    **fields: Any,
) -> tuple[Run, ...]:
    names, sizes, rates = tuple(names), tuple(sizes), tuple(rates)
    checkpoints = fields.pop("checkpoints", (steps // 5, 3 * steps // 5, steps))
    return tuple(
        Run(
            task=each, architecture=architecture(name), size=size.of(architecture(name)), learning_rate=rate,
            steps=steps, checkpoints=checkpoints, **fields,
        )
        for each in tasks for name in names for size in sizes for rate in rates
    )  # fmt: skip


def paper_suite() -> Suite:
    """suites/paper.yaml, and what it still lacks of the paper's figures and tables."""
    suite = suites.load(ROOT / "suites/paper.yaml")
    named = " ".join(each.rebuilds for each in suite.experiments)
    six = ("transformer", "mamba", "s4_mamba", "s4", "standard_hybrid", "mambaformer")
    cot = [size for group in ("cot-standard", "cot-small", "cot-tiny") for size in SIZE_GROUPS[group]]

    def chain(hidden: int) -> Task:
        return task("chain_of_thought", n_dims=10, tokens=3, divisor=10.0, hidden=hidden)

    extra = [
        Experiment(name, rebuilds, "", found)
        for name, rebuilds, found in (
            ("outliers_many", "Figure 3", runs(
                [task("many_outlier_regression", n_points=512)], six,
                [*SIZE_GROUPS["regular"], *SIZE_GROUPS["mini"]],
            )),
            ("outliers_orthogonal", "Figure 3", runs(
                [task("orthogonal_outlier_regression")], six, SIZE_GROUPS["table6"]
            )),
            ("chain_sizes", "Figure 4, left", runs([chain(8)], ("transformer", "mamba"), cot)),
            ("chain_widths", "Figure 4, right", runs(
                [chain(k) for k in (4, 8, 16)], ("transformer", "mamba"), SIZE_GROUPS["cot-small"]
            )),
            ("chain_figure2", "Figure 2", runs([chain(8)], six[:4], cot)),
            ("chain_figure8", "Figure 8", runs([chain(8)], ("transformer", "mamba", *six[4:]), cot)),
            ("first_mamba", "Figure 7, the fourth model", tuple(
                run for seed in range(5) for run in runs(
                    [task("sparse_parity")], ["mamba_transformer"], [Size(layers=12, width=256)], (4e-4,),
                    checkpoints=tuple(range(25_000, 500_001, 25_000)), seed=seed,
                )
            )),
            ("recall", "Table 3", runs(
                [task("vector_mqar", n_points=m, n_queries=m, divisor=1.0) for m in (4, 16)],
                ("mamba", "transformer_without_positions", "transformer", "mambaformer",
                 "mamba_with_one_hybrid"),
                [Size(layers=4, width=width) for width in (64, 128)],
                (1e-4, 4.64e-4, 2.15e-3, 1e-2), steps=300_000,
            )),
        )
        if f"{name}:{rebuilds}" and (rebuilds[:8] not in named or name.startswith(("chain_f", "first")))
    ]  # fmt: skip
    return Suite("paper", suite.description, suite.path, (*suite.experiments, *extra))


def paper_pool(suite: Suite) -> Pool:
    """A made-up result for every run of the suite."""
    return Pool(runs={run.id: paper_result(run) for run in suite.runs})


def paper_result(run: Run) -> dict[str, Any]:
    """The made-up result of one run."""
    result = result_of(run, _curve(run))
    facts = result["facts"]
    if run.task.name.endswith("_outlier_regression"):
        facts.update(OUTLIERS["facts"])
        for checkpoint in result["checkpoints"]:
            _add_outlier_scores(run, checkpoint)
    for checkpoint in result["checkpoints"]:
        _slow(run, checkpoint)
    if run.task.metric == "accuracy":
        facts.update(LEARNED["facts"])
        reached = [c["step"] for c in result["checkpoints"] if c["evaluations"]["report"]["overall"][0] >= 0.95]
        result["convergence_step"] = reached[0] if reached else None
    return result


def _skill(run: Run) -> float:
    """How good a model is at its task: larger is better, 1 is ordinary."""
    name, base = run.task.name, run.architecture.base_name
    table = SKILLS.get(name, SKILLS["linear_regression"])
    skill = table.get(base, 1.0) * (run.parameters / 1e6) ** 0.25
    if isinstance(run.optimizer, AdamW):
        skill *= 1.1 if base == "transformer" else 1.4
    if run.size.layers == 2 and base == "transformer" and name == "linear_regression":
        skill *= 0.25
    if run.size.layers == 128:
        skill *= 0.4
    return skill * math.exp(-abs(math.log(run.learning_rate / 2e-4)) / 4)


SKILLS: dict[str, dict[str, float]] = {
    "linear_regression": {
        "transformer": 1.0, "mamba": 1.05, "s4_mamba": 0.75, "s4": 0.4, "standard_hybrid": 1.2,
        "mambaformer": 1.3,
    },
    "decision_tree": {
        "transformer": 1.0, "mamba": 0.55, "s4_mamba": 0.4, "s4": 0.25, "standard_hybrid": 1.0,
        "mambaformer": 1.1,
    },
    "many_outlier_regression": {
        "transformer": 0.5, "mamba": 1.0, "s4_mamba": 0.7, "s4": 0.5, "standard_hybrid": 1.1, "mambaformer": 1.6,
    },
    "orthogonal_outlier_regression": {
        "transformer": 1.1, "mamba": 0.6, "s4_mamba": 0.4, "s4": 0.2, "standard_hybrid": 1.2, "mambaformer": 1.4,
    },
}  # fmt: skip
MQAR = {
    "mamba": -0.3, "transformer_without_positions": -3.9, "transformer": -5.5, "mambaformer": -5.4,
    "mamba_with_one_hybrid": -2.3,
}  # fmt: skip
CONVERGED_AT = {
    "mamba": 60_000, "s4_mamba": 70_000, "s4": 300_000, "mambaformer": 55_000, "mamba_transformer": 80_000,
    "standard_hybrid": 280_000,
}  # fmt: skip


def _curve(run: Run) -> list[float]:
    """Normalised error (or accuracy) at every position at the end of training."""
    n, skill = run.task.n_points, _skill(run)
    if run.task.name == "vector_mqar":
        level = MQAR[run.architecture.base_name] * (1.25 if run.size.width == 128 else 1.0)
        return [10 ** (level + abs(math.log10(run.learning_rate / 4.64e-4)))] * n
    if run.task.metric == "accuracy":
        if run.architecture.base_name not in CONVERGED_AT:
            return [0.5 + 0.063 * i / n for i in range(n)]
        return [1 - 0.5 * math.exp(-i / 2.2) for i in range(n)]
    floor = 0.003 / skill**2
    return [max(floor, 1 - i / 20, math.exp(-4 * skill * i / n)) for i in range(n)]


def _slow(run: Run, checkpoint: dict[str, Any]) -> None:
    """Earlier checkpoints are worse; parity is learned at a step of its own."""
    step, steps = checkpoint["step"], run.steps
    scores = checkpoint["evaluations"]
    if run.task.metric == "accuracy":
        at = CONVERGED_AT.get(run.architecture.base_name, math.inf) * (1 + 0.15 * run.seed)
        if step < at:
            _set(scores["report"], [0.5 + 0.05 * i / run.task.n_points for i in range(run.task.n_points)])
            scores["selection"]["overall"] = list(scores["report"]["overall"])
        return
    slower = (steps / step) ** 0.45
    for name in ("report", "clean_prompts"):
        if name in scores:
            whole = run.task.error_scale
            _set(scores[name], [min(1.02 * whole, score * slower) for score in scores[name]["mean"]])
            if "headline" in scores[name]:
                scores[name]["headline"] = [scores[name]["mean"][49], scores[name]["standard_error"][49]]
    scores["selection"]["overall"] = list(scores["report"]["overall"])
    if "headline" in scores["report"]:
        scores["selection"]["headline"] = list(scores["report"]["headline"])


def _set(scores: dict[str, Any], mean: list[float]) -> None:
    overall = sum(mean) / len(mean)
    scores.update(
        mean=mean, standard_error=[0.04 * score for score in mean], overall=[overall, 0.012 * overall]
    )


def _add_outlier_scores(run: Run, checkpoint: dict[str, Any]) -> None:
    skill, scores = _skill(run), checkpoint["evaluations"]
    _set(scores["report"], [20 * max(0.02 / skill**2, math.exp(-2 * skill * i / 50)) for i in range(50)])
    scores["report"]["headline"] = [scores["report"]["mean"][49], scores["report"]["standard_error"][49]]
    out = 0.5 if (run.task.name[:4] == "many") == (run.architecture.base_name in ("transformer", "mambaformer")) else 1
    scores["clean_prompts"] = {}
    _set(scores["clean_prompts"], [20 * max(0.03 / (out * skill), math.exp(-2 * out * i / 50)) for i in range(101)])
