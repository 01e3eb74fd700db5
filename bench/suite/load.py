"""A suite: named experiments, each a grid of runs, read from a YAML file.

    name: example
    defaults: {learning_rates: [5e-5, 1e-4], steps: 500_000}
    experiments:
      figure2:
        rebuilds: Figure 2
        tasks: [linear_regression, {name: sparse_linear_regression, n_points: 41}]
        architectures: [transformer, mamba]
        sizes: [large, {layers: 2, width: 128}]

`bench.suite.format` defines the keys, `bench.suite.grid` expands them into runs. All problems of a suite and
of the files that it includes are reported together, each with its place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from bench import plugins
from bench.errors import InvalidFile, UserError, did_you_mean
from bench.frozen import Frozen
from bench.paper.exhibits import EXHIBITS, unknown
from bench.run import Run
from bench.strict_yaml.complaints import Complaint, shown, validated
from bench.strict_yaml.document import Document, lines, read
from bench.suite.changes import Changes, changes
from bench.suite.format import Entry, Settings, SuiteFile, checked_name
from bench.suite.grid import expand
from bench.suite.settings import completed

T = TypeVar("T", bound=Frozen)


@dataclass(frozen=True)
class Experiment:
    """One grid.

    Attributes:
        rebuilds: the table or figure of the paper it rebuilds, or "".
        runs: each once, in the order of the file.
    """

    name: str
    rebuilds: str
    description: str
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Suite:
    """Experiments of one file and of those it includes, included ones first.

    Attributes:
        name: of the file, with the settings that the command line changed: `quick+steps=2000`. Folders of
            reports have this name, so that changed runs are not mixed up with those of the file.
    """

    name: str
    description: str
    path: Path
    experiments: tuple[Experiment, ...]

    @property
    def base_name(self) -> str:
        """The name in the file."""
        return self.name.partition("+")[0]

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run once, because experiments that list the same run share it."""
        return tuple({run.id: run for experiment in self.experiments for run in experiment.runs}.values())

    def experiments_of(self, run_id: str) -> tuple[Experiment, ...]:
        """The experiments that list a run."""
        return self._experiments_by_run.get(run_id, ())

    @cached_property
    def _experiments_by_run(self) -> dict[str, tuple[Experiment, ...]]:
        by_run: dict[str, tuple[Experiment, ...]] = {}
        for experiment in self.experiments:
            for run in experiment.runs:
                by_run[run.id] = (*by_run.get(run.id, ()), experiment)
        return by_run


def load(path: Path, settings: Sequence[str] = ()) -> Suite:
    """Read a suite and the files it includes.

    Args:
        path: the suite's file.
        settings: `key=value` words that change settings of every experiment, as `--set` takes them.

    Raises:
        InvalidFile: every problem of every file, each on its own line.
        UserError: an installed plugin cannot be loaded, or a changed setting is not valid.
    """
    plugins.load_installed()
    reading = _Reading({}, set(), [], changes(settings))
    header = reading.read_file(path, ())
    if reading.problems or header is None:  # a file without a header has a problem
        raise InvalidFile([*reading.problems, *reading.faults])
    if reading.faults:
        raise UserError("\nbench: ".join(reading.faults))
    experiments = tuple(experiment for experiment, _ in reading.experiments.values())
    return Suite(header.name + reading.changes.suffix(), header.description, path, experiments)


@dataclass
class _Reading:
    """The files and experiments that were read so far, and their problems.

    Attributes:
        experiments: by name, each with the place where it is written.
        files: the files read, as resolved paths. A file that is included twice counts once.
        problems: one line per problem of a file.
        changes: settings that replace those of every experiment.
        faults: one line per problem of a changed setting.
    """

    experiments: dict[str, tuple[Experiment, str]]
    files: set[Path]
    problems: list[str]
    changes: Changes
    faults: dict[str, None] = field(default_factory=dict)

    def read_file(self, path: Path, includers: tuple[Path, ...]) -> SuiteFile | None:
        """Read one file after the files it includes. Returns its header, or None if it cannot be read."""
        self.files.add(_real(path))
        try:
            document = read(path)
        except InvalidFile as error:
            self.problems += error.problems
            return None
        complaints: list[Complaint] = []
        data = document.data if isinstance(document.data, dict) else {}
        header = _header(document, complaints)
        for index, name in enumerate(header.include):
            if fault := self._include(path.parent / name, (*includers, path)):
                complaints.append(Complaint(("include", index), fault))
        defaults = _usable(Settings, data.get("defaults", {}), ("defaults",), complaints)
        for name, entry in _experiments(data, header, complaints).items():
            self.read_experiment(document, name, entry, defaults, complaints)
        self.problems += lines(document, self.changes.of_file(complaints))
        self.faults |= dict.fromkeys(self.changes.lines(complaints))
        return header

    def _include(self, target: Path, includers: tuple[Path, ...]) -> str | None:
        """Read an included file if it was not read yet. Returns why it cannot be included, or None."""
        if _real(target) in map(_real, includers):
            return f"files include each other: {' → '.join(map(str, (*includers, target)))}"
        if not target.is_file():
            return f"include: no such file: {target}"
        if _real(target) not in self.files:
            self.read_file(target, includers)
        return None

    def read_experiment(
        self,
        document: Document,
        name: str,
        data: Any,
        defaults: tuple[Settings, frozenset[str]],
        complaints: list[Complaint],
    ) -> None:
        """Read one experiment and complete it from the defaults of its file."""
        loc = ("experiments", name)
        try:
            checked_name(name)
        except ValueError as error:
            complaints.append(Complaint(loc, str(error), key=True))
        if name in self.experiments:
            where = self.experiments[name][1]
            complaints.append(Complaint(loc, f"duplicate experiment '{name}', first at {where}", key=True))
        entry, broken = _usable(Entry, data, loc, complaints)
        if what := unknown(entry.rebuilds):
            message = f"rebuilds: there is no '{what}' to draw{did_you_mean(what, EXHIBITS)}"
            complaints.append(Complaint((*loc, "rebuilds"), message))
        stated = completed(entry, loc, broken, defaults, self.changes)
        runs = expand(stated, entry, loc, complaints)
        experiment = Experiment(name, entry.rebuilds, entry.description.strip(), runs)
        self.experiments.setdefault(name, (experiment, document.where(loc, key=True)))


def _header(document: Document, complaints: list[Complaint]) -> SuiteFile:
    """The file without its experiments. If something is wrong, only its usable parts."""
    data = document.data
    if isinstance(data, dict):
        data = {key: value for key, value in data.items() if key not in ("defaults", "experiments")}
    outcome = validated(SuiteFile, data)
    if not isinstance(outcome, list):
        return outcome
    complaints.extend(outcome)
    include = data.get("include") if isinstance(data, dict) else None
    files = [name for name in include if isinstance(name, str)] if isinstance(include, list) else []
    return SuiteFile(name="unusable", include=files)


def _experiments(data: dict[str, Any], header: SuiteFile, complaints: list[Complaint]) -> dict[str, Any]:
    """The experiments of a file as data; complains about a file that is not empty and has none."""
    experiments = data.get("experiments", {})
    if isinstance(experiments, dict):
        if data and not experiments and not header.include:
            fault = "experiments: there is none" if "experiments" in data else "missing key 'experiments'"
            complaints.append(Complaint(("experiments",), fault))
        return experiments
    fault = f"experiments: expected a mapping, got {shown(experiments)}"
    complaints.append(Complaint(("experiments",), fault))
    return {}


def _usable(
    model: type[T], data: Any, loc: tuple[str, ...], complaints: list[Complaint]
) -> tuple[T, frozenset[str]]:
    """A model of the valid keys, and the invalid keys."""
    outcome = validated(model, data)
    if not isinstance(outcome, list):
        return outcome, frozenset()
    complaints.extend(complaint.under(loc) for complaint in outcome)
    if not isinstance(data, dict):
        return model(), frozenset(model.model_fields)
    broken = frozenset(str(complaint.loc[0]) for complaint in outcome if complaint.loc)
    return model.model_validate({key: value for key, value in data.items() if key not in broken}), broken


def _real(path: Path) -> Path:
    """A path without links. `Path.resolve` raises a RuntimeError for a link to itself before Python 3.13."""
    return Path(os.path.realpath(path))
