"""Plugins: architectures and tasks of users, from files on the command line and from installed packages.

A plugin file is Python. Suites can name each `Architecture` that it assigns to a variable, and each subclass
of `Task` that it defines. A package offers the same through the entry point groups `bench.architectures` (an
`Architecture`) and `bench.tasks` (a class), under the name that suites use.

Loading lasts for the process, like an import: the names join `ARCHITECTURES` and `TASKS`. A suite cannot name
a plugin, so reading a suite executes nothing. Other processes receive a file's source with their work
(`carried`). They therefore compute what was planned, even if the file has changed since.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import pickle
import re
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic import ValidationError

from bench.errors import UserError, raised_in
from bench.frozen import record_fault
from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.names import name_fault
from bench.results.facts import facts_fault
from bench.tasks import TASKS, Task

KINDS: dict[str, dict[str, Any]] = {"architecture": ARCHITECTURES, "task": TASKS}
"""The tables that plugins add to, by the kind of what they offer."""
VERSION_FIELDS = ("sha256", "distribution", "version")
"""Fields that differ between two versions of a plugin. Its path is not one of them."""
GROUPS = {"bench.architectures": "architecture", "bench.tasks": "task"}
"""Kind of what an entry point group offers."""

_files: dict[str, bytes] = {}
"""Source of every loaded file, by its path as given."""
_origins: dict[tuple[str, str], dict[str, str]] = {}
"""Origin of each plugin name, by kind and name. Names of bench itself are absent."""


class Offer(NamedTuple):
    """An architecture or a task of a plugin, and where it is written."""

    kind: str
    name: str
    value: Any
    where: str


def load(files: Iterable[Path]) -> None:
    """Load plugin files; skip those that are loaded already.

    Raises:
        UserError: a file is missing, fails, offers nothing, or uses a name that exists.
    """
    for path in files:
        try:
            source = path.read_bytes()
        except OSError as error:
            raise UserError(f"--plugin {path}: {(error.strerror or str(error)).lower()}") from None
        _load_source(str(path), source)


@cache
def load_installed() -> None:
    """Load the plugins of installed packages, once per process.

    Raises:
        UserError: an entry point fails, is neither an architecture nor a task, or uses a name that exists.
    """
    for group, kind in GROUPS.items():
        for entry in entry_points(group=group):
            origin = {"distribution": entry.dist.name, "version": entry.dist.version} if entry.dist else {}
            _register([_of_entry_point(kind, entry)], origin)


def flags() -> str:
    """Options that load the same files in another command, such as ` --plugin mine.py`; or an empty text."""
    return "".join(f" --plugin {shlex.quote(file)}" for file in _files)


def origins(task: Task, architecture: Architecture | None = None) -> list[dict[str, str]]:
    """The origins of a task and an architecture, for the record; empty if both belong to bench.

    An origin contains the name and its source: {"architecture": …, "file": …, "sha256": …}, or
    {"task": …, "distribution": …, "version": …}.
    """
    names = [("task", task.name)]
    if architecture is not None:
        names.append(("architecture", architecture.base_name))
    return [{kind: name, **_origins[kind, name]} for kind, name in names if (kind, name) in _origins]


def version_of(parts: Iterable[tuple[Task, Architecture]]) -> str:
    """The version of all plugins that tasks and architectures come from; "" if all belong to bench."""
    versions = {
        json.dumps({key: value for key, value in origin.items() if key in (*KINDS, *VERSION_FIELDS)})
        for task, architecture in parts
        for origin in origins(task, architecture)
    }
    return " ".join(sorted(versions))


def outdated(recorded: Iterable[list[dict[str, str]]]) -> list[str]:
    """A sentence for each name whose results were made with another version of the plugin.

    Args:
        recorded: `origins` of results, one list per result.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for origins_of_result in recorded:
        for kind in KINDS:
            for origin in origins_of_result:
                name = origin.get(kind, "")
                loaded = _origins.get((kind, name))
                if loaded is not None and any(origin.get(key) != loaded.get(key) for key in VERSION_FIELDS):
                    counts[kind, name] += 1
    return [
        f"{count} of the results with {kind} '{name}' were made with another version of "
        f"{_source(_origins[kind, name])}: raise its `version` if its numbers have changed"
        for (kind, name), count in counts.items()
    ]


@dataclass(frozen=True)
class _Parcel:
    """A value that is pickled together with the source of all plugin files."""

    value: Any

    def __reduce__(self) -> Any:
        return _unpacked, (tuple(_files.items()), pickle.dumps(self.value))


def carried(value: Any) -> Any:
    """`value` for another process. Unpickling it loads the plugins first and returns `value`."""
    return _Parcel(value)


def _unpacked(files: tuple[tuple[str, bytes], ...], data: bytes) -> Any:
    for file, source in files:
        _load_source(file, source)
    load_installed()
    return pickle.loads(data)


def _load_source(file: str, source: bytes) -> None:
    if source in _files.values():  # under this path or another
        return
    sha256 = hashlib.sha256(source).hexdigest()
    # The module's name contains its hash. So a pickled class is never mistaken for that of another version.
    module = ModuleType(f"bench_plugin_{re.sub(r'[^0-9A-Za-z]', '_', Path(file).stem)}_{sha256[:12]}")
    module.__file__ = file
    sys.modules[module.__name__] = module
    try:
        tree = ast.parse(source, file)
        with redirect_stdout(sys.stderr):
            exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
        _register(list(_offered(module, tree)), {"file": file, "sha256": sha256})
    except BaseException as error:
        message = raised_in(error, module.__name__)
        del sys.modules[module.__name__]
        if isinstance(error, SyntaxError) and error.filename == file:
            raise UserError(f"{file}:{error.lineno}:{error.offset}: {error.msg}") from None
        if isinstance(error, UserError | KeyboardInterrupt):
            raise
        raise UserError(message if message.startswith(file) else f"{file}: {message}") from error
    _files[file] = source


def _offered(module: ModuleType, tree: ast.Module) -> Iterator[Offer]:
    """The architectures and tasks of a file, without repetitions.

    Raises:
        UserError: the file offers nothing, or a task has no name.
    """
    file = str(module.__file__)
    offered: list[Any] = []
    for variable, value in vars(module).items():
        where = f"{file}:{_line(tree, variable)}"
        if isinstance(value, Architecture) and value is not ARCHITECTURES.get(value.name):
            kind, name = "architecture", value.name
        elif inspect.isclass(value) and issubclass(value, Task) and value.__module__ == module.__name__:
            kind, name = "task", value.model_fields["name"].default
            if not isinstance(name, str):
                if value.__abstractmethods__:
                    continue  # a base class of tasks
                raise UserError(f"{where}: a task needs a name: `name: Literal['mine'] = 'mine'`")
        else:
            continue
        if not any(value is other for other in offered):
            offered.append(value)
            yield Offer(kind, name, value, where)
    if not offered:
        raise UserError(
            f"{file}: defines no architecture and no task: assign an Architecture to a name, "
            "or define a subclass of Task"
        )


def _of_entry_point(kind: str, entry: EntryPoint) -> Offer:
    package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "a package"
    where = f"{package}: entry point {entry.name} = {entry.value}"
    try:
        with redirect_stdout(sys.stderr):
            value = entry.load()
    except Exception as error:  # whatever its author's code raises
        message = raised_in(error, entry.module)
        raise UserError(f"{where}: cannot be loaded: {message}") from error
    if kind == "architecture":
        name = value.name if isinstance(value, Architecture) else None
    else:
        is_task = inspect.isclass(value) and issubclass(value, Task)
        name = value.model_fields["name"].default if is_task else None
    if name is None:
        raise UserError(
            f"{where}: is not {'an Architecture' if kind == 'architecture' else 'a subclass of Task'}"
        )
    if name != entry.name:
        raise UserError(f"{where}: is named '{name}'; the entry point must have that name")
    return Offer(kind, name, value, where)


def _register(offers: list[Offer], origin: dict[str, str]) -> None:
    """Add all names, or none.

    Raises:
        UserError: a name exists already or cannot be part of a file name, a task has no defaults, or settings
            or results cannot be recorded.
    """
    new: dict[tuple[str, str], Any] = {}
    for kind, name, value, where in offers:
        if fault := name_fault(name):
            raise UserError(f"{where}: {kind}: {fault}")
        if name in KINDS[kind] or (kind, name) in new:
            owner = _origins.get((kind, name), {} if name in KINDS[kind] else origin)
            whose = _source(owner)
            if (kind, name) not in new and whose == origin.get("file"):
                raise UserError(
                    f"{where}: {kind} '{name}' was loaded from an earlier version of this file: start a new "
                    "Python process to load this one"
                )
            raise UserError(f"{where}: {kind} '{name}' exists already (of {whose}): give yours another name")
        if kind == "task" and (fault := _no_example(value)):
            raise UserError(f"{where}: task '{name}' {fault}")
        if kind == "task" and (fault := facts_fault(value.example())):
            raise UserError(f"{where}: task '{name}': {fault}")
        if fault := record_fault(value if kind == "architecture" else value.example()):
            raise UserError(f"{where}: {kind} '{name}' cannot be recorded: {fault}")
        new[kind, name] = value
    for (kind, name), value in new.items():
        KINDS[kind][name], _origins[kind, name] = value, origin


def _no_example(task: type[Task]) -> str | None:
    """Why commands cannot show a task with its defaults; None if they can."""
    if lacking := sorted(task.__abstractmethods__):
        return f"lacks {', '.join(lacking)}"
    try:
        task.example()
    except ValidationError as error:
        missing = [str(detail["loc"][0]) for detail in error.errors() if detail["type"] == "missing"]
        if missing:
            return f"has no default for {', '.join(missing)}: give one, or a value in `example_fields`"
        return f"cannot have its own defaults: {error.errors()[0]['msg'].removeprefix('Value error, ')}"
    return None


def _source(origin: dict[str, str]) -> str:
    return origin.get("file") or origin.get("distribution") or "bench itself"


def _line(tree: ast.Module, name: str) -> int:
    """The line of the last top-level statement that assigns or defines a name."""
    lines = [
        statement.lineno
        for statement in tree.body
        for node in ast.walk(statement)
        if getattr(node, "name", None) == name or (isinstance(node, ast.Name) and node.id == name)
        if not isinstance(getattr(node, "ctx", None), ast.Load)
    ]
    return lines[-1] if lines else 1
