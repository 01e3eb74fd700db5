"""Where the numbers come from, and warnings about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bench import results as pools
from bench.report.text import heading
from bench.results.mixtures import mixtures
from bench.results.record import MAIN, SELECTION, Piece


@dataclass(frozen=True)
class ProvenanceSummary:
    """A summary of the results of a report.

    Attributes:
        rows: what was recorded, and each value with the number of results that have it.
        newest: when the newest result was finished, UTC, or None.
        synthetic: how many results are made up for tests.
        warnings: reasons why numbers may not be comparable, a sentence each.
    """

    rows: Sequence[tuple[str, Sequence[tuple[str, int]]]]
    newest: str | None
    synthetic: int
    warnings: Sequence[str]


PURPOSES = {SELECTION: "validation", MAIN: "test"}
"""What readers call the prompts that result files call `selection` and `report`."""


def summarise(pool: pools.Pool, run_ids: Iterable[str], tasks: Mapping[str, str]) -> ProvenanceSummary:
    """Summarise the results of `run_ids` that are in the pool.

    Args:
        pool: the results.
        run_ids: the planned runs.
        tasks: task id → the task's name for people.
    """
    results = [pool.runs[key] for key in run_ids if key in pool.runs]
    baselines = [pool.baselines[key] for key in tasks if key in pool.baselines]
    origins = [result.provenance for result in results]
    recorded = {
        "device": [origin.device or "" for origin in origins],
        "commit": [_commit(origin) for origin in origins],
        "bench": [origin.bench or "" for origin in origins],
        "Python": [origin.python or "" for origin in origins],
        "CUDA": [origin.cuda or "" for origin in origins],
        **_packages(origins),
        heading("precision"): [result.run.precision for result in results],
        heading("seeds"): [str(result.run.seed) for result in results],
        heading("steps"): [f"{result.run.steps:,}" for result in results],
        "whole steps captured as one graph": [_yes(origin.captured) for origin in origins],
        "selective scan": [origin.scan or "" for origin in origins],
        "kernels against their references": [_self_test(origin) for origin in origins],
    }
    plugins = [_plugin(plugin) for origin in origins for plugin in origin.plugins or []]
    if plugins:
        recorded["plugins"] = plugins
    rows = [(label, Counter(values).most_common()) for label, values in recorded.items() if any(values)]
    rows += _spent(origins)
    digests = _digests([*results, *baselines], tasks)
    rows += [
        (f"test prompts, {tasks[task_id]}", [(digest[:12], count) for digest, count in counts.most_common()])
        for (task_id, purpose), counts in digests.items()
        if purpose == MAIN
    ]
    finished = [origin.finished for origin in origins if origin.finished is not None]
    mixed = [f"Results side by side are of {phrase}." for phrase in mixtures(results)]
    return ProvenanceSummary(
        rows=rows,
        newest=f"{datetime.fromtimestamp(max(finished), UTC):%Y-%m-%d %H:%M} UTC" if finished else None,
        synthetic=sum(
            bool(origin.synthetic) for origin in [*origins, *(baseline.provenance for baseline in baselines)]
        ),
        warnings=[*_prompt_warnings(digests, tasks), *_code_warnings(origins), *mixed],
    )


def _spent(origins: Sequence[pools.Provenance]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Training hours by device, each run counted as if it had a device of its own."""
    hours: dict[str, list[float]] = {}
    for origin in origins:
        if origin.train_seconds is not None:
            hours.setdefault(origin.device or "unknown device", []).append(origin.train_seconds / 3600)
    return [
        (f"training hours, {device}", [(f"{sum(spent):,.2f}", len(spent))]) for device, spent in hours.items()
    ]


def _yes(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"


def _commit(origin: pools.Provenance) -> str:
    if not origin.commit:
        return "unknown: the code had no history where it ran"
    return f"{origin.commit[:12]} with uncommitted changes" if origin.dirty else origin.commit[:12]


def _self_test(origin: pools.Provenance) -> str:
    """The result of the training process's comparison of its kernels with their references."""
    if not origin.self_test:
        return "not run"
    verdict = "agree" if all(test.agrees for test in origin.self_test) else "disagree"
    errors = [error for test in origin.self_test for error in (test.outputs, test.gradients)]
    worst = max((error for error in errors if error is not None), default=None)
    return verdict if worst is None else f"{verdict}, largest relative error {worst:.0e}"


def _plugin(origin: Mapping[str, str]) -> str:
    """Where a plugin's architecture or task came from."""
    kind = "task" if "task" in origin else "architecture"
    if "file" in origin:
        source = f"{origin['file']}, SHA-256 {origin.get('sha256', '')[:12]}"
    else:
        source = f"{origin.get('distribution')} {origin.get('version')}"
    return f"{kind} {origin.get(kind)}: {source}"


def _packages(origins: Sequence[pools.Provenance]) -> dict[str, list[str]]:
    names = sorted({name for origin in origins for name in origin.packages or {}})
    return {name: [(origin.packages or {}).get(name) or "" for origin in origins] for name in names}


def _digests(
    results: Sequence[pools.Record], tasks: Mapping[str, str]
) -> dict[tuple[str, str], Counter[str]]:
    """How many results were evaluated on which prompts, by task id and purpose."""
    digests: dict[tuple[str, str], Counter[str]] = {}
    for result in results:
        for purpose, prompts in result.prompts.items():
            key = (result.facts.task_id, purpose)
            if key[0] in tasks:
                digests.setdefault(key, Counter())[prompts.sha256] += 1
    return digests


def _prompt_warnings(digests: Mapping[tuple[str, str], Counter[str]], tasks: Mapping[str, str]) -> list[str]:
    warnings = []
    for (task_id, purpose), counts in digests.items():
        if len(counts) > 1:
            sets = ", ".join(f"{digest[:12]}: {count}" for digest, count in counts.most_common())
            warnings.append(
                f"{tasks[task_id]}: results were evaluated on {len(counts)} different sets of "
                f"{PURPOSES.get(purpose, purpose)} prompts ({sets}); they are not comparable."
            )
    return warnings


def _code_warnings(origins: Sequence[pools.Provenance]) -> list[str]:
    dirty = sum(bool(origin.dirty) for origin in origins)
    commits = {origin.commit for origin in origins}
    warnings = []
    if dirty:
        warnings.append(f"{dirty} of {len(origins)} results come from code with uncommitted changes.")
    if unknown := sum(origin.commit is None for origin in origins):
        warnings.append(f"{unknown} of {len(origins)} results do not say which commit made them.")
    if len(commits) > 1:
        warnings.append(f"Results come from {len(commits)} versions of the code.")
    for noun, value in _OF_A_PIECE.items():
        mixed = [origin for origin in origins if len(_recorded(origin, value)) > 1]
        if mixed:
            warnings.append(f"{len(mixed)} of {len(origins)} results were trained on several {noun} in turn.")
    return warnings


_OF_A_PIECE: dict[str, Callable[[Piece], str | None]] = {
    "devices": lambda piece: piece.device,
    "versions of the code": lambda piece: piece.source or piece.commit,
    "versions of PyTorch": lambda piece: piece.torch,
    "backends of kernels": lambda piece: piece.kernels,
}
"""What the processes that trained a run one after another may differ in, so that numbers depend on it."""


def _recorded(origin: pools.Provenance, value: Callable[[Piece], str | None]) -> set[str]:
    """The different values that were recorded of the processes that trained one run."""
    return {recorded for piece in origin.pieces or [] if (recorded := value(piece)) is not None}
