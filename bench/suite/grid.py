"""Expand an experiment into its runs: the product of its lists without exclusions, and single points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import product
from typing import Any, NamedTuple

from pydantic import ValidationError

from bench.digits import short
from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES, canonical
from bench.models.sizes import Size
from bench.names import file_fault
from bench.optimizers import OPTIMIZERS
from bench.paper.sizes import SIZE_GROUPS
from bench.run import SETTINGS, Run
from bench.strict_yaml.complaints import Complaint, Loc
from bench.suite.entries import (
    architectures,
    distinct,
    is_known,
    is_pattern,
    optimizers,
    sizes,
    tasks,
)
from bench.suite.format import Entry, Every, Exclusion, Settings
from bench.suite.settings import AXES, NEEDED, Stated, settings_of_point, unzipped
from bench.tasks import TASKS, Task

MOST_RUNS = 1_000_000
"""Largest number of grid points of one experiment."""
MOST_CHECKPOINTS = 10_000
"""Largest number of checkpoints of one run, which is evaluated at each."""


class Cell(NamedTuple):
    """One grid point before it is a run.

    Attributes:
        listed_size: the size as listed.
        size: the same for the architecture: without heads if it has none.
        settings: of training, those that a grid lists.
        size_place: where the size is written.
        architecture_place: where the architecture is written.
    """

    task: Task
    protocol: str
    architecture: Architecture
    listed_size: Size
    size: Size
    settings: dict[str, Any]
    size_place: Loc
    architecture_place: Loc

    def value(self, key: str) -> Any:
        """The value with which a field of an exclusion is compared; `_matching` compares the other two."""
        match key:
            case "task":
                return self.task.name
            case "protocol":
                return self.protocol
            case "optimizer":
                return self.settings["optimizer"].name
            case _:
                return self.settings[key] if key in self.settings else getattr(self.size, key)


def expand(stated: Stated, entry: Entry, loc: Loc, complaints: list[Complaint]) -> tuple[Run, ...]:
    """The runs of the experiment at `loc`, each once, in the order of the file.

    With points a grid is optional. There is a grid if any list that it needs has several values.

    Args:
        stated: the settings of the experiment.
        entry: the experiment as written in the file.
        loc: its location in the file.
        complaints: receives everything that is wrong.
    """
    before = len(complaints)
    missing = [key for key in NEEDED if stated.lacks(key)]
    if not entry.points or any(len(getattr(stated.settings, key)) > 1 for key in NEEDED):
        complaints.extend(Complaint(loc, f"missing key '{key}'") for key in missing)
    elif missing and entry.exclude:
        complaints.append(Complaint((*loc, "exclude"), "there is no grid to exclude from"))
    runs = [] if missing and entry.points else list(_grid_runs(stated, entry.exclude, loc, complaints))
    for index, point in enumerate(entry.points):
        place = (*loc, "points", index)
        if single := settings_of_point(stated, point, place, complaints):
            runs += _grid_runs(single, [], place, complaints)
    if not runs and len(complaints) == before and not stated.broken:
        complaints.append(Complaint(loc, "there is nothing to run: every grid point is excluded"))
    return tuple({run.id: run for run in runs}.values())


def _grid_runs(
    stated: Stated, exclude: Sequence[Exclusion], loc: Loc, complaints: list[Complaint]
) -> Iterator[Run]:
    """The runs of the product of the lists, without those excluded. Zipped lists count as one list."""
    before = len(complaints)
    if stated.lacks("steps"):
        complaints.append(Complaint(loc, "missing key 'steps'"))
    checkpoints = _checkpoints(stated, complaints)
    parts = unzipped(stated, loc, complaints)
    if _too_many(parts, loc, complaints):
        return
    cells = [cell for part in parts for cell in _cells(part, loc, complaints)]
    _values(stated, "protocol", complaints)
    # With mistakes in the lists, or with lists from the command line, an exclusion may match nothing.
    mistaken = len(complaints) > before or stated.broken or any(stated.lacks(key) for key in NEEDED)
    must_match = not mistaken and not stated.changed
    remaining = _without_excluded(cells, exclude, (*loc, "exclude"), complaints, must_match)
    if not stated.steps or "checkpoints" in stated.broken:
        return
    for cell in remaining:
        yield from _valid_run(cell, stated, checkpoints, loc, complaints)


def _cells(stated: Stated, loc: Loc, complaints: list[Complaint]) -> list[Cell]:
    """The points of the product of the lists. Seeds vary fastest."""
    placed_sizes = sizes(stated.listed("sizes"), complaints)
    placed_architectures = architectures(stated.listed("architectures"), complaints)
    placed_tasks = [
        (task, protocol)
        for task, protocol in tasks(stated.listed("tasks"), stated.settings.protocol, complaints)
        if _can_stop(task, stated, loc, complaints)
    ]
    listed = {
        name: optimizers(stated.listed(setting.key), stated.steps, complaints)
        if name == "optimizer"
        else _values(stated, setting.key, complaints)
        for name, setting in sorted(SETTINGS.items(), key=lambda item: item[0] == "seed")
        if setting.listed
    }
    return [
        Cell(
            task,
            protocol,
            architecture,
            size,
            size.of(architecture),
            dict(zip(listed, values, strict=True)),
            size_place,
            architecture_place,
        )
        for (task, protocol), (architecture, architecture_place), (size, size_place), *values in product(
            placed_tasks, placed_architectures, placed_sizes, *listed.values()
        )
    ]


def _valid_run(
    cell: Cell, stated: Stated, checkpoints: tuple[int, ...], loc: Loc, complaints: list[Complaint]
) -> Iterator[Run]:
    """The run of a grid point; nothing, and a complaint, if it is not valid."""
    try:
        run = _run(cell, stated.settings, checkpoints)
    except ValidationError as error:
        for problem in error.errors():
            why = str(problem.get("ctx", {}).get("error", problem["msg"]))
            named = str(problem["loc"][0]) if problem["loc"] else why.partition(":")[0]
            field = named if named in Run.model_fields else "size"
            message = why if why.startswith(f"{field}:") else f"{field}: {why}"
            complaints.append(Complaint(_place_of(field, cell, stated, loc), message))
        return
    if fault := file_fault(run.file_name):
        message = f"architecture '{run.architecture.name:.60}…': its result would need {fault}"
        complaints.append(Complaint(cell.architecture_place, message))
    else:
        yield run


def _place_of(field: str, cell: Cell, stated: Stated, loc: Loc) -> Loc:
    """Where a field of a grid point's run is written, or else the experiment."""
    match field:
        case "size":
            return cell.size_place
        case "architecture":
            return cell.architecture_place
        case _:
            key = SETTINGS[field].key if field in SETTINGS else field
            return stated.places.get(key, loc)


def _can_stop(task: Task, stated: Stated, loc: Loc, complaints: list[Complaint]) -> bool:
    """Whether the task can follow the suite's rule `stop`, if there is one; complains if it cannot."""
    if getattr(stated.settings, SETTINGS["stop"].key) is None or task.convergence_accuracy is not None:
        return True
    able = ", ".join(name for name, kind in TASKS.items() if kind.convergence_accuracy is not None)
    message = f"task '{task.name}' has no criterion of convergence; only {able} can stop early"
    complaints.append(Complaint(stated.places.get("stop", loc), message))
    return False


def _run(cell: Cell, settings: Settings, checkpoints: tuple[int, ...]) -> Run:
    common = {
        name: getattr(settings, setting.key) for name, setting in SETTINGS.items() if not setting.listed
    }
    return Run.model_validate(
        {
            "task": cell.task,
            "architecture": cell.architecture,
            "size": cell.size,
            **cell.settings,
            **common,
            "checkpoints": checkpoints,
            "evaluation_prompts": settings.evaluation_prompts,
        }
    )


def _checkpoints(stated: Stated, complaints: list[Complaint]) -> tuple[int, ...]:
    """Steps after which a run is evaluated, in ascending order, including the last step."""
    steps = stated.steps
    if steps is None:
        return ()
    for value, loc in stated.listed("checkpoints"):
        first = value.every if isinstance(value, Every) else value
        # Fewer steps than the file has, given by --set, leave out the later checkpoints.
        if first > steps and ("steps" not in stated.changed or "checkpoints" in stated.changed):
            complaints.append(Complaint(loc, f"checkpoint {first} is beyond the last step, {steps}"))
    intervals = [value.every for value, _ in stated.listed("checkpoints") if isinstance(value, Every)]
    if (count := sum(steps // interval for interval in intervals)) > MOST_CHECKPOINTS:
        place = stated.places.get("checkpoints", ())
        needed = -(-steps // MOST_CHECKPOINTS)
        message = (
            f"{count:,} checkpoints are too many (at most {MOST_CHECKPOINTS:,}): "
            f"write every: {needed} or more"
        )
        complaints.append(Complaint(place, message))
        return (steps,)
    checkpoints = {steps}
    for value in _values(stated, "checkpoints", complaints):
        checkpoints.update(range(value.every, steps, value.every) if isinstance(value, Every) else {value})
    return tuple(sorted(step for step in checkpoints if step <= steps))


def _too_many(parts: Sequence[Stated], loc: Loc, complaints: list[Complaint]) -> bool:
    """Whether the grid has more than `MOST_RUNS` points; complains if it has."""
    count = sum(
        math.prod(len(getattr(part.settings, setting)) or 1 for setting in AXES.values()) for part in parts
    )
    if count > MOST_RUNS:
        complaints.append(
            Complaint(loc, f"{count:,} runs are too many: at most {MOST_RUNS:,} in an experiment")
        )
    return count > MOST_RUNS


def _values(stated: Stated, key: str, complaints: list[Complaint]) -> list[Any]:
    """The values of a list of plain settings; complains about repeated values."""

    def name(value: Any) -> str:
        if isinstance(value, Every):
            return f"{key}: every {value.every}"
        return f"{key}: {short(value) if isinstance(value, float) else value}"

    values = stated.listed(key)
    distinct(values, name, complaints)
    return [value for value, _ in values]


def _without_excluded(
    cells: Sequence[Cell],
    exclude: Sequence[Exclusion],
    loc: Loc,
    complaints: list[Complaint],
    must_match: bool,
) -> list[Cell]:
    """The cells that no exclusion matches; complains about one that matches nothing, if it `must_match`."""
    remaining = list(cells)
    for index, exclusion in enumerate(exclude):
        place = (*loc, index)
        if not _names_are_known(exclusion, place, complaints):
            continue
        if must_match and not _matching(cells, exclusion):
            complaints.append(
                Complaint(place, f"excludes nothing: no grid point matches{_variants(exclusion, cells)}")
            )
        excluded = {id(cell) for cell in _matching(remaining, exclusion)}
        remaining = [cell for cell in remaining if id(cell) not in excluded]
    return remaining


def _matching(cells: Iterable[Cell], exclusion: Exclusion) -> list[Cell]:
    """The points that have the value of every field of the exclusion.

    An architecture may be a pattern. A size group stands for all of its sizes.
    """
    fields = exclusion.model_dump(exclude_none=True)
    group, architecture = fields.pop("size", None), fields.pop("architecture", None)
    pattern = None if architecture is None else canonical(architecture)
    return [
        cell
        for cell in cells
        if all(cell.value(key) == value for key, value in fields.items())
        and (group is None or cell.listed_size in SIZE_GROUPS[group])
        and (pattern is None or fnmatchcase(cell.architecture.name, pattern))
    ]


def _names_are_known(exclusion: Exclusion, place: Loc, complaints: list[Complaint]) -> bool:
    """Whether the names in an exclusion exist; complains about each that does not."""
    answers = [
        is_known(word, valid, noun, (*place, key), complaints)
        for key, noun, valid in (
            ("task", "task", TASKS),
            ("size", "size group", SIZE_GROUPS),
            ("optimizer", "optimizer", OPTIMIZERS),
        )
        if (word := getattr(exclusion, key)) is not None
    ]
    if (word := exclusion.architecture) is not None and not is_pattern(word):
        base = word.partition("+")[0]
        answers.append(is_known(base, ARCHITECTURES, "architecture", (*place, "architecture"), complaints))
    return all(answers)


def _variants(exclusion: Exclusion, cells: Sequence[Cell]) -> str:
    """The names of an architecture's variants, if an exclusion names the architecture without options."""
    names = dict.fromkeys(
        cell.architecture.name
        for cell in cells
        if cell.architecture.base_name == (exclusion.architecture or "").partition("+")[0]
        if cell.architecture.name != exclusion.architecture
    )
    return f" (there is {', '.join(names)})" if names else ""
