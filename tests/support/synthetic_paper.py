"""A made-up result for every run of the paper's grid, to see every figure and table filled.

Every file is marked `"synthetic": true`. Nothing here was trained or measured: errors follow closed forms
that give each architecture the standing the paper's words give it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

from command import ROOT
from synthetic import baselines_of, per_prompt_of, pool_with, result_of, scores_of

from bench import suite as suites
from bench.check import Verdict, check, claims
from bench.check.claims import Claims
from bench.optimizers import AdamW
from bench.results import Pool
from bench.run import Run
from bench.suite import Suite


@functools.cache
def paper() -> tuple[Suite, Pool]:
    """The paper's suite with one seed, and its made-up results. Do not change them."""
    suite = paper_suite()
    return suite, paper_pool(suite)


@functools.cache
def paper_suite() -> Suite:
    """suites/paper.yaml."""
    return suites.load(ROOT / "suites/paper.yaml")


@functools.cache
def paper_verdicts() -> list[Verdict]:
    """Verdicts on `paper_claims` with the made-up results. Do not change them."""
    return check(paper_claims(), *paper(), allow_synthetic=True)


@functools.cache
def paper_claims() -> Claims:
    """The paper's claims, about the runs themselves. Do not change them."""
    suite = paper_suite()
    return about_these_runs(claims.load(claims.path_for(suite.path), suite))


def about_these_runs(file: Claims) -> Claims:
    """The same claims, about the runs themselves: one seed decides them."""
    changes = {"about": "these runs", "seeds": None}
    return replace(
        file,
        claims={
            name: claim.model_copy(update={"requires": claim.requires.model_copy(update=changes)})
            for name, claim in file.claims.items()
        },
    )


def paper_pool(suite: Suite) -> Pool:
    """A made-up result for every run of the suite, and baselines for every task."""
    return pool_with(
        runs={run.id: paper_result(run) for run in suite.runs},
        baselines={run.task_id: baselines_of(run) for run in suite.runs},
    )


def paper_result(run: Run) -> dict[str, Any]:
    """The made-up result of one run."""
    result = result_of(run, _curve(run))
    for checkpoint in result["checkpoints"]:
        _as_it_was(run, checkpoint)
    result["per_prompt"]["report"] = per_prompt_of(run, result["checkpoints"])
    learned = run.task.convergence_accuracy
    if learned is not None:
        steps = [
            each["step"] for each in result["checkpoints"]
            if each["evaluations"]["report"]["overall"][0] >= learned
        ]  # fmt: skip
        result["convergence_step"] = steps[0] if steps else None
    return result


def _skill(run: Run) -> float:
    """How good a model is at its task: larger is better, 1 is ordinary."""
    name, base = run.task.name, run.architecture.base_name
    table = SKILLS.get(name, SKILLS["linear_regression"])
    skill = table.get(base, 1.0) * (run.parameters / 1e6) ** 0.25
    if isinstance(run.optimizer, AdamW):
        skill *= 1.05 if base == "transformer" else 1.3 * (run.parameters / 1e6) ** 0.05
    if run.size.layers == 2 and base == "transformer" and name == "linear_regression":
        skill *= 0.5
    if name == "chain_of_thought" and base == "mamba":
        skill *= (8 / run.task.hidden) ** 0.1 * (1e6 / run.parameters) ** 0.06  # type: ignore[attr-defined]
    if run.size.layers == 128:
        skill *= 0.4
    return skill * math.exp(-abs(math.log(run.learning_rate / 2e-4)) / 4)


SKILLS: dict[str, dict[str, float]] = {
    "linear_regression": {
        "transformer": 1.0, "mamba": 1.05, "s4_mamba": 0.85, "s4": 0.5, "standard_hybrid": 1.1,
        "mambaformer": 1.2,
    },
    "decision_tree": {
        "transformer": 1.0, "mamba": 0.3, "s4_mamba": 0.2, "s4": 0.1, "standard_hybrid": 1.0,
        "mambaformer": 1.1,
    },
    "many_outlier_regression": {
        "transformer": 0.4, "mamba": 1.0, "s4_mamba": 0.7, "s4": 0.5, "standard_hybrid": 1.1,
        "mambaformer": 1.6,
    },
    "orthogonal_outlier_regression": {
        "transformer": 1.1, "mamba": 0.5, "s4_mamba": 0.4, "s4": 0.2, "standard_hybrid": 1.2,
        "mambaformer": 1.4,
    },
}  # fmt: skip
MQAR = {
    "mamba": -0.1, "transformer_no_positions": -3.5, "transformer": -5.4, "mambaformer": -5.3,
    "mamba_one_hybrid": -1.8,
}  # fmt: skip
"""Decades of the error at width 64."""
LEARNED_AT = {
    "mamba": 60_000, "s4_mamba": 62_000, "s4": 300_000, "mambaformer": 55_000, "standard_hybrid": 280_000,
    "transformer_first_mamba": 75_000,
}  # fmt: skip
"""Steps by which parity is learned; others never learn it."""
KEEP_IT_CLEAN = {"many_outlier_regression": ("mamba", "standard_hybrid", "s4", "s4_mamba"),
                 "orthogonal_outlier_regression": ("transformer", "mambaformer")}  # fmt: skip
"""Who does well on clean prompts after training with outliers."""


def _curve(run: Run) -> list[float]:
    """Normalised error (or accuracy) at every reported position at the end of training."""
    n, skill = len(run.task.evaluations()["report"].positions), _skill(run)
    base = run.architecture.base_name
    if run.task.name == "vector_mqar":
        level = MQAR[base] * (1.0 if run.size.width == 64 else 8.0 if base == "mamba" else 1.1)
        return [10 ** (level + 0.3 * abs(math.log10(run.learning_rate / 4.64e-4)))] * n
    if run.task.metric == "accuracy":
        if base not in LEARNED_AT:
            return [0.5 + 0.063 * i / n for i in range(n)]
        return [1 - 0.5 * math.exp(-i / 2.2) for i in range(n)]
    if run.task.name == "decision_tree":
        return [max(0.02 / skill, math.exp(-3 * skill * i / n)) for i in range(n)]
    return [max(0.003 / skill**2, 1 - i / 20, math.exp(-4 * skill * i / n)) for i in range(n)]


def _as_it_was(run: Run, checkpoint: dict[str, Any]) -> None:
    """Earlier checkpoints are worse; parity is learned at a step of its own; clean prompts differ."""
    task, scores, base = run.task, checkpoint["evaluations"], run.architecture.base_name
    if task.metric == "accuracy":
        if checkpoint["step"] < LEARNED_AT.get(base, math.inf) * (1 + 0.15 * (run.seed % 100)):
            n = len(scores["report"]["mean"])
            scores["report"] = scores_of(task, [0.5 + 0.05 * i / n for i in range(n)])
    else:
        slower = (run.steps / checkpoint["step"]) ** 0.45 * (1 + 0.05 * math.sin(run.seed))
        most = 1.02 * task.error_scale
        for name in task.evaluations():
            clean = name == "clean_prompts" and base not in KEEP_IT_CLEAN[task.name]
            by = slower * (3.0 if clean else 1.0)
            scores[name] = scores_of(task, [min(most, by * score) for score in scores[name]["mean"]], name)
    scores["selection"] = {key: list(scores["report"][key]) for key in ("overall", "headline")}
