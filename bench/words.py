"""Words for people: names of architectures and tasks, and their settings.

Reports, verdicts and figures use these words. Suites, filters and claims files have the keys.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.tasks import TASKS, Task

_PROPER = {
    "regbench": "RegBench",
    "ginc": "GINC",
    "lstm": "LSTM",
    "mamba": "Mamba",
    "mqar": "MQAR",
    "s4": "S4",
}
"""Proper names among the words of experiments' names."""


def architecture_name(name: str) -> str:
    """An architecture's name for people: its title; `name` if it has no title or is unknown."""
    return _title(ARCHITECTURES, name) or name


def title_of(name: str) -> str:
    """The name of an experiment or of a figure as a title: group_reflections → Group reflections."""
    return _capitalised(" ".join(_PROPER.get(word, word) for word in name.split("_")))


def _capitalised(words: str) -> str:
    return words[:1].upper() + words[1:]


def options_in_words(name: str, dropout: bool = True) -> list[str]:
    """The options of an architecture's full name: `deltanet+householders=2` → ["2 Householder products"].

    Args:
        name: of the architecture, with options that are not the defaults.
        dropout: with the rates of dropout, which most readers need not tell apart.
    """
    options = (option.partition("=") for option in name.split("+")[1:])
    return [
        setting_in_words(field, value) for field, _, value in options if dropout or "dropout" not in field
    ]


def task_name(name: str) -> str:
    """A task's name for people: its title, or its name in words: linear_regression → Linear regression."""
    return _title(TASKS, name) or _capitalised(name.replace("_", " "))


def _title(table: Mapping[str, Architecture | type[Task]], name: str) -> str:
    """The title of an entry; empty if it has none of its own.

    A user's copy of an architecture and subclass of a task have the original's title. The original, which is
    earlier in the table, keeps it for itself: reports tell entries apart by these names.
    """
    title = table[name].title if name in table else ""
    first = next((other for other, entry in table.items() if entry.title == title), None)
    return title if first == name else ""


_COUNTED = {
    "functions": ("function", "functions"),
    "heads": ("head", "heads"),
    "householders": ("Householder product", "Householder products"),
    "languages": ("language", "languages"),
    "n_dims": ("dimension", "dimensions"),
    "n_points": ("point", "points"),
    "pairs": ("pair", "pairs"),
    "queries": ("query", "queries"),
    "steps": ("step", "steps"),
    "updates": ("update", "updates"),
}
"""Fields that count: the noun for one and for several."""
_FIELDS = {
    "convolution": "convolution of width {}",
    "expand_keys": "key expansion {}",
    "hidden": "hidden width {}",
    "key_dim": "key dimension {}",
    "state": "state dimension {}",
    **{
        f"curriculum {part} {field}": f"{noun} grow {words}"
        for part, noun in (("points", "prompts"), ("dims", "dimensions"))
        for field, words in (
            ("start", "from {}"), ("end", "to {}"), ("increment", "by {}"), ("every", "every {} steps"),
        )
    },
}  # fmt: skip
"""Words of the field around a value. Other fields have their names in suites."""
_VALUES = {
    ("alphabet", "elements"): "all elements",
    ("alphabet", "generators"): "generators only",
    ("causal", "False"): "without causal mask",
    ("convolution", "1"): "without convolution",
    ("negative_eigenvalues", "False"): "β < 1",
    ("negative_eigenvalues", "True"): "β < 2",
    ("rotation", "data"): "rotation by the input",
    ("rotation", "fixed"): "fixed rotation",
    ("rotation", "none"): "without rotation",
}
"""Values that have words of their own. Each field has different words for different values."""


def setting_in_words(field: str, value: str) -> str:
    """A setting or an option in words: `householders=2` is "2 Householder products"."""
    if (field, value) in _VALUES:
        return _VALUES[field, value]
    if field in _COUNTED:
        return f"{value} {_COUNTED[field][value != '1']}"
    if field in _FIELDS:
        return _FIELDS[field].format(value)
    words = field.replace("_", " ")
    return {"True": f"with {words}", "False": f"without {words}"}.get(value, f"{words} {value}")
