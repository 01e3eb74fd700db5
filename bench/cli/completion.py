"""What a shell offers when Tab is pressed: suites, tasks, architectures and runs.

`bench --install-completion` installs completion for the user's shell. A mistake in a file must not print into
a line that is being typed, so no function reads a suite or a result.
"""

from __future__ import annotations

from pathlib import Path

MOST = 200
"""Largest number of suggestions."""


def suite_words(incomplete: str) -> list[str]:
    """Names of suites that ship with bench, and YAML files, that begin with the incomplete word."""
    from bench.suite import shipped

    names = [name for name in shipped.paths() if name.startswith(incomplete)] if "/" not in incomplete else []
    return names + _files(incomplete, (".yaml", ".yml"))


def task_names(incomplete: str) -> list[str]:
    """Names of tasks that begin with the incomplete word."""
    from bench.tasks import TASKS

    return [name for name in TASKS if name.startswith(incomplete)]


def architecture_names(incomplete: str) -> list[str]:
    """Names of architectures that begin with the incomplete word."""
    from bench.models.architectures import ARCHITECTURES

    return [name for name in ARCHITECTURES if name.startswith(incomplete)]


def run_ids(incomplete: str) -> list[tuple[str, str]]:
    """Ids of runs in `results/` that were started or have a result, with their labels."""
    from bench.results import STATE

    results = Path("results")
    ids = {path.stem: "started" for path in (results / STATE / "logs").glob("*.log")}
    ids |= {
        path.stem.rpartition("-")[2]: path.stem.rpartition("-")[0] for path in results.glob("*/*-s*-*.json")
    }
    return sorted((run_id, label) for run_id, label in ids.items() if run_id.startswith(incomplete))[:MOST]


def setting_words(incomplete: str) -> list[str]:
    """Keys of settings that `--set` takes, with an equals sign."""
    from bench.suite.format import Settings

    return [f"{key}=" for key in Settings.model_fields if key != "zip" and f"{key}=".startswith(incomplete)]


def task_setting_words(incomplete: str) -> list[str]:
    """Settings of tasks that `bench evaluate --set` takes, with an equals sign."""
    from bench.suite.changes import task_setting_names

    return [f"{key}=" for key in task_setting_names() if f"{key}=".startswith(incomplete)]


def _files(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    """Paths that begin with the incomplete word: suites with one of these endings, and folders."""
    from bench.suite.shipped import is_suite

    folder, _, start = incomplete.rpartition("/")
    try:
        entries = sorted(Path(f"{folder}/" if folder or incomplete.startswith("/") else ".").iterdir())
    except OSError:
        return []
    prefix = incomplete[: len(incomplete) - len(start)]
    matching = [
        entry for entry in entries if entry.name.startswith(start) and (start or entry.name[0] != ".")
    ]
    return [
        f"{prefix}{entry.name}" + ("/" if entry.is_dir() else "")
        for entry in matching
        if entry.is_dir() or (entry.name.endswith(endings) and is_suite(entry))
    ]
