"""The settings of an experiment, completed from the defaults; those of a zipped row and of a single point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench.run import SETTINGS, Run
from bench.strict_yaml.complaints import Complaint, Loc
from bench.suite.changes import Changes
from bench.suite.entries import At
from bench.suite.format import Entry, Point, Settings

AXES = {
    "task": "tasks",
    "architecture": "architectures",
    "size": "sizes",
    "protocol": "protocol",
    **{name: setting.key for name, setting in SETTINGS.items() if setting.listed},
}
"""Keys of a point, and the lists of a grid that they correspond to."""

NEEDED = (
    "tasks",
    "architectures",
    "sizes",
    *(
        setting.key
        for name, setting in SETTINGS.items()
        if setting.listed and Run.model_fields[name].is_required()
    ),
)
"""Lists that every grid needs."""


@dataclass(frozen=True)
class Stated:
    """The settings of an experiment, of a row of its zipped lists, or of a single point.

    Attributes:
        settings: all of them, with defaults where nothing is written.
        places: where each setting is written; settings that are not written are absent.
        broken: settings that were refused; complaints about them exist already.
        changed: settings that the command line changed, in points too.
    """

    settings: Settings
    places: Mapping[str, Loc]
    broken: frozenset[str]
    changed: frozenset[str]

    def listed(self, key: str) -> list[At]:
        """The values of a list, each with its place."""
        place = self.places.get(key, ())
        return [At(value, (*place, index)) for index, value in enumerate(getattr(self.settings, key))]

    @property
    def steps(self) -> int | None:
        """Steps of every run; None if they are not stated."""
        steps: int | None = getattr(self.settings, SETTINGS["steps"].key)
        return steps

    def lacks(self, key: str) -> bool:
        """Whether a setting without a default is missing."""
        return not getattr(self.settings, key) and key not in self.broken


def completed(
    entry: Entry,
    loc: Loc,
    broken: frozenset[str],
    defaults: tuple[Settings, frozenset[str]],
    changes: Changes,
) -> Stated:
    """The settings of an experiment: those that it states, else its file's defaults.

    Changes of the command line replace both.

    Args:
        entry: the experiment as written, without the settings that were refused.
        loc: its location in the file.
        broken: the settings that were refused.
        defaults: the settings under `defaults`, and the keys of those that were refused.
        changes: settings that the command line changes.
    """
    own = [key for key in Settings.model_fields if key in entry.model_fields_set]
    settings, broken_defaults = defaults
    places: dict[str, Loc] = {key: ("defaults", key) for key in settings.model_fields_set}
    places |= {key: (*loc, key) for key in own}
    places |= {key: changes.location(key) for key in changes.keys}
    update = {key: getattr(entry, key) for key in own}
    update |= {key: getattr(changes.settings, key) for key in changes.keys}
    return Stated(
        settings.model_copy(update=update),
        places,
        (broken | (broken_defaults - set(own))) - changes.keys,
        changes.keys,
    )


def unzipped(stated: Stated, loc: Loc, complaints: list[Complaint]) -> list[Stated]:
    """The settings with the first value of every zipped list, with the second of each, and so on.

    A single value that a command line sets is that of every row. Without zipped lists, the settings as they
    are; nothing if the lists cannot be paired.
    """
    zipped = stated.settings.zip
    if not zipped and "zip" not in stated.broken:
        return [stated]
    lists = {key: stated.listed(key) for key in zipped}
    place = stated.places.get("zip", loc)
    for index, key in enumerate(zipped):
        if key in zipped[:index]:
            complaints.append(Complaint((*place, index), f"zip: '{key}' is listed twice"))
    if len(lists) < len(zipped) or stated.broken & {*zipped, "zip"}:
        return []
    keys = [key for key in zipped if key not in stated.changed or len(lists[key]) > 1]
    if not keys:
        return [stated]
    first, *others = keys
    count = len(lists[first])
    for key in others:
        if len(lists[key]) != count:
            unequal = f"{first} has {count} values, {key} has {len(lists[key])}"
            at = next((stated.places[name] for name in (first, key) if name in stated.changed), place)
            complaints.append(Complaint(at, f"zip: {unequal}; paired lists have equal lengths"))
            return []
    return [
        replace(
            stated,
            settings=stated.settings.model_copy(update={key: [lists[key][row].value] for key in keys}),
            places={**stated.places, **{key: lists[key][row].loc for key in keys}},
        )
        for row in range(count)
    ]


def settings_of_point(stated: Stated, point: Point, loc: Loc, complaints: list[Complaint]) -> Stated | None:
    """The settings of a point: its own fields, completed from the experiment where that has one value.

    None, and complaints, if the point leaves something open. Settings of the command line stay as they are.
    """
    before = len(complaints)
    update, places = _own_settings(stated, point, loc, complaints)
    for key, setting in AXES.items():
        values = update.get(setting, getattr(stated.settings, setting))
        if setting in stated.changed:
            continue
        if len(values) > 1:
            complaints.append(
                Complaint(loc, f"missing key '{key}': the experiment lists {len(values)} of them")
            )
        elif not values and stated.lacks(setting):
            complaints.append(Complaint(loc, f"missing key '{key}'"))
    if len(complaints) > before:
        return None
    return replace(
        stated,
        settings=stated.settings.model_copy(update=update),
        places={**stated.places, **places},
        broken=stated.broken - update.keys(),
    )


def _own_settings(
    stated: Stated, point: Point, loc: Loc, complaints: list[Complaint]
) -> tuple[dict[str, Any], dict[str, Loc]]:
    """The settings that a point replaces, by the keys of an experiment, and where they are written."""
    fields = {key: value for key in point.model_fields_set if (value := getattr(point, key)) is not None}
    update: dict[str, Any] = {"zip": []}
    places: dict[str, Loc] = {}
    shape = {key: fields.pop(key) for key in ("layers", "width", "heads") if key in fields}
    if shape and "size" in fields:
        complaints.append(Complaint((*loc, "size"), "give either size or layers and width, not both"))
    elif shape and "sizes" not in stated.changed:
        update["sizes"], places["sizes"] = [shape], loc
    # The experiment's checkpoints belong to the experiment's number of steps.
    if "steps" in fields and "checkpoints" not in stated.changed:
        update["checkpoints"] = []
    for key, value in fields.items():
        setting = AXES.get(key, key)
        if setting not in stated.changed:
            update[setting] = [value] if key in AXES else value
            places[setting] = (*loc, key)
    return update, places
