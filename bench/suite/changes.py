"""Settings that the command line changes: `--set steps=2000 --set seeds=0,1`.

A changed setting of a suite takes the place of that setting in every experiment and in every point. The runs
are those of a suite file with these settings, so a changed run has an id of its own. `bench evaluate` changes
settings of a task, and its words are read in the same way.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import InvalidFile, UserError, did_you_mean
from bench.json_data import digest
from bench.strict_yaml.complaints import Complaint, validated
from bench.strict_yaml.document import parse
from bench.suite.format import LISTED, Settings
from bench.tasks import TASKS

OPTION = "--set"
_MARK = "\0set"
"""First part of the location of a changed setting. No key of a file equals it."""
MOST_LETTERS = 60
"""Longest text of a change in the name of a suite. Longer changes are shortened to a digest."""


@dataclass(frozen=True)
class Changes:
    """Settings that replace those of a suite.

    Attributes:
        settings: the changed settings; the others are unset.
        texts: what the user wrote for each key.
    """

    settings: Settings = field(default_factory=Settings)
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def keys(self) -> frozenset[str]:
        """The keys of the changed settings."""
        return frozenset(self.texts)

    def suffix(self) -> str:
        """What the changes add to the name of the suite: `+steps=2000+seeds=0,1`."""
        return "".join(f"+{key}={_short(self.settings, key)}" for key in self.texts)

    @staticmethod
    def location(key: str) -> tuple[str, str]:
        """The location of a changed setting in complaints."""
        return (_MARK, key)

    def lines(self, complaints: Iterable[Complaint]) -> Iterator[str]:
        """A line for each complaint about a changed setting."""
        for complaint in complaints:
            if complaint.loc[:1] == (_MARK,):
                key = str(complaint.loc[1])
                yield f"{OPTION} {key}={self.texts[key]}: {complaint.message}"

    @staticmethod
    def of_file(complaints: Iterable[Complaint]) -> list[Complaint]:
        """The complaints that are not about a changed setting."""
        return [complaint for complaint in complaints if complaint.loc[:1] != (_MARK,)]


def changes(words: Sequence[str]) -> Changes:
    """The changes of a suite's settings by `key=value` words.

    Raises:
        UserError: for every word that is no change, an unknown key, or a value that YAML would refuse there.
    """
    valid = [key for key in Settings.model_fields if key != "zip"]
    values, texts, faults = _read(words, valid, LISTED, "steps=2000")
    outcome = validated(Settings, values)
    if isinstance(outcome, list):
        keys = [str(complaint.loc[0]) for complaint in outcome]
        faults += [
            f"{OPTION} {key}={texts[key]}: {complaint.message}"
            for key, complaint in zip(keys, outcome, strict=True)
        ]
    if faults or isinstance(outcome, list):
        raise _refusal(faults)
    return Changes(outcome, texts)


def task_setting_names() -> list[str]:
    """Names of the settings of all tasks, sorted."""
    return sorted({field for task in TASKS.values() for field in task.model_fields} - {"name"})


def task_settings(words: Sequence[str]) -> dict[str, Any]:
    """The settings of a task by `key=value` words, such as `n_points=82`. No task has checked the values.

    Raises:
        UserError: for every word that is no change, or whose key is no setting of any task.
    """
    values, _, faults = _read(words, task_setting_names(), (), "n_points=82")
    if faults:
        raise _refusal(faults)
    return values


def _refusal(faults: Sequence[str]) -> UserError:
    return UserError("\nbench: ".join(faults))


def _read(
    words: Sequence[str], valid: Sequence[str], listed: Sequence[str], example: str
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Values, texts and faults of `key=value` words. A value is YAML; `0,1` stands for a list."""
    values: dict[str, Any] = {}
    texts: dict[str, str] = {}
    faults: list[str] = []
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            faults.append(f"{OPTION} {word}: expected KEY=VALUE, such as {OPTION} {example}")
        elif key not in valid:
            faults.append(f"{OPTION} {word}: unknown key '{key}'{did_you_mean(key, valid)}")
        elif key in texts:
            faults.append(f"{OPTION} {word}: '{key}' is set twice")
        else:
            texts[key] = text
            try:
                values[key] = _value(text, key in listed)
            except InvalidFile as error:
                # The place in the file is that in the option's text.
                faults += [f"{OPTION} {word}: {fault.split(': ', 1)[-1]}" for fault in error.problems]
    return values, texts, faults


def _value(text: str, listed: bool) -> Any:
    """A value as data: one value, or for a list all of its values."""
    values = parse(Path(OPTION), f"[{text}\n]").data
    if len(values) == 1 and (not listed or isinstance(values[0], list)):
        return values[0]
    if not listed:
        raise InvalidFile([f"{OPTION}: takes one value, got {len(values)}"])
    return values


def _short(settings: Settings, key: str) -> str:
    value = settings.model_dump(mode="json", include={key})[key]
    text = json.dumps(value, separators=(",", ":"))
    plain = re.sub(r"^\[(.*)\]$", r"\1", text).replace('"', "")
    is_short = re.fullmatch(r"[A-Za-z0-9_.,=+-]+", plain) and len(plain) <= MOST_LETTERS
    return plain if is_short else digest(value)
