"""Read YAML files strictly, and keep the position of every key and value.

The rules are close to those of the YAML 1.2 core schema: `no` and `on` are text, `1e-4` is a
number, `500_000` is a whole number, `0123`, `1:30` and `2024-02-04` are text. A duplicate key, a
key that is not text, NaN, an infinity, an escape of a control character and a tag outside the core
schema are errors.

    document = read(Path("suites/paper.yaml"))
    suite = validate(document, SuiteFile)          # raises InvalidFile, every problem on its own line

`bench.strict_yaml.complaints` turns pydantic's errors into those lines.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from bench.errors import InvalidFile, did_you_mean, nearest
from bench.strict_yaml.complaints import Complaint, Loc, validated
from bench.strict_yaml.numbers import FRACTION, NOT_FINITE, WHOLE_NUMBER

T = TypeVar("T", bound=BaseModel)
_Problems = list[tuple[tuple[int, int], str]]

MOST_BYTES = 16 << 20
"""Largest file. A larger one is not written by hand: it may be a device, a checkpoint or an archive."""
MOST_LEVELS = 100
"""Largest depth of nested lists and mappings."""
MOST_REPEATED = 100_000
"""Largest number of values that all aliases of a file together may stand for."""
_NO_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, except the tab and the line break, and halves of surrogate pairs."""

_CORE = "tag:yaml.org,2002:"
"""Prefix of the tags of YAML's core schema."""
_PLAIN = (  # types of unquoted text, and the characters that each may start with
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", WHOLE_NUMBER, list("-+0123456789")),
    ("float", rf"{FRACTION}|{NOT_FINITE}", list("-+.0123456789")),
)


class _TooLarge(Exception):
    """A file has too many levels, or aliases stand for too many values."""

    def __init__(self, mark: yaml.Mark, message: str) -> None:
        self.line, self.column = mark.line, mark.column
        super().__init__(message)


class _Loader(yaml.SafeLoader):
    """PyYAML's parser and composer with the resolvers of YAML 1.2 in place of those of 1.1.

    The values that aliases stand for are counted while composing, because aliases of aliases multiply.
    """

    yaml_implicit_resolvers = {}  # noqa: RUF012 (PyYAML's own declaration)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._values: dict[yaml.Node, int] = {}
        self._levels: dict[yaml.Node, int] = {}
        self._repeated = self._level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node as PyYAML does, and count its values and levels."""
        alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._level += 1
        if self._level > MOST_LEVELS:
            raise _TooLarge(mark, f"is nested too deeply, more than {MOST_LEVELS} levels")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._level -= 1
        if node is None:
            return None
        if alias:
            self._repeated += self._values.get(node, 0)  # 0: the node contains itself, which `_plain` refuses
            if self._repeated > MOST_REPEATED:
                raise _TooLarge(mark, f"aliases stand for more than {MOST_REPEATED:,} values: write them out")
            if self._level + self._levels.get(node, 0) > MOST_LEVELS:
                raise _TooLarge(mark, f"is nested too deeply, more than {MOST_LEVELS} levels")
        elif isinstance(node, yaml.CollectionNode):
            pairs = isinstance(node, yaml.MappingNode)
            inner = [part for pair in node.value for part in pair] if pairs else node.value
            self._values[node] = 1 + sum(self._values.get(part, 1) for part in inner)
            self._levels[node] = 1 + max((self._levels.get(part, 1) for part in inner), default=0)
        else:
            self._values[node] = self._levels[node] = 1
        return node


for _kind, _pattern, _first in _PLAIN:
    _Loader.add_implicit_resolver(_CORE + _kind, re.compile(rf"(?:{_pattern})\Z"), _first)


@dataclass(frozen=True)
class Document:
    """A file as plain data, with the position of each value.

    Attributes:
        path: as given by the user.
        data: dict, list, str, int, float, bool or None.
    """

    path: Path
    data: Any
    _root: yaml.Node | None = field(default=None, repr=False, compare=False)

    def where(self, loc: Loc, key: bool = False) -> str:
        """`path:line:column` of the value at `loc` or of its key; if absent, of the nearest ancestor."""
        line, column = self.position(loc, key)
        return f"{self.path}:{line}:{column}"

    def position(self, loc: Loc, key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the same place as `where`."""
        node = named = self._root
        for part in loc:
            step = _child(node, part)
            if step is not None:
                named, node = step
            elif isinstance(node, yaml.SequenceNode) or isinstance(part, str):
                break  # skip an index if there is no list: one value stands for a list of one
        shown = named if key else node
        return (1, 1) if shown is None else (shown.start_mark.line + 1, shown.start_mark.column + 1)


def read(path: Path) -> Document:
    """Read one YAML file.

    Raises:
        InvalidFile: it is missing, is not UTF-8 text, is not YAML, or breaks a rule of this module.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        fault = "is a link that leads nowhere" if path.is_symlink() else f"no such file{_near(path)}"
        raise InvalidFile([f"{path}: {fault}"]) from None
    except IsADirectoryError:
        raise InvalidFile([f"{path}: is a folder, expected a YAML file"]) from None
    except OSError as error:
        raise InvalidFile([f"{path}: cannot be read: {error.strerror}"]) from None
    if len(data) > MOST_BYTES:
        raise InvalidFile([f"{path}: is larger than {MOST_BYTES >> 20} MiB, too large for YAML by hand"])
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        place = f"{path}:{line}:{column}"
        raise InvalidFile([f"{place}: is not UTF-8 text (byte {error.start + 1})"]) from None
    return parse(path, text)


def _near(path: Path) -> str:
    """A suggestion for a file that does not exist, from the YAML files beside it that do."""
    kind = _file_kind(path.name)  # never suggest a claims file for a suite, or the reverse
    others = (other for other in path.parent.glob("*.y*ml") if other.exists() and other.name != path.name)
    names = sorted(other.name for other in others if _file_kind(other.name) == kind)
    near = nearest(path.name, names)
    return did_you_mean(path.name, names) if near is None else f", did you mean '{path.with_name(near)}'?"


def _file_kind(name: str) -> str:
    """What the name of a file beside a suite says about its contents; empty for a suite."""
    return next((kind for kind in (".claims.", ".findings.") if kind in name), "")


def parse(path: Path, text: str) -> Document:
    """The document in a text; `path` names it in messages. The data of an empty text are None.

    Raises:
        InvalidFile: the text is not YAML, or breaks a rule of this module.
    """
    root = _compose(path, text)
    if root is None:
        return Document(path, None)
    problems: _Problems = []
    try:
        data = _plain(root, problems, ())
    except RecursionError:
        raise InvalidFile([f"{path}: is nested too deeply"]) from None
    if problems:
        raise InvalidFile(f"{path}:{line}:{column}: {text}" for (line, column), text in sorted(problems))
    return Document(path, data, root)


def check(document: Document, model: type[T], loc: Loc = (), data: Any = ...) -> T | list[Complaint]:
    """Validate the value at `loc` of a document.

    Args:
        document: the document.
        model: the type that the value should have.
        loc: keys and indices from the root to the value.
        data: the value, if it was completed for the check. The additions have no position in the file, so
            complaints about them point at `loc`.

    Returns:
        The model, or complaints with locations relative to the document's root.
    """
    if data is ...:
        data = document.data
        for part in loc:
            data = data[part]
    outcome = validated(model, data)
    if not isinstance(outcome, list):
        return outcome
    return [complaint.under(loc) for complaint in outcome]


def validate(document: Document, model: type[T]) -> T:
    """The document as a `model`.

    Raises:
        InvalidFile: every problem, in the order of the file.
    """
    outcome = check(document, model)
    if isinstance(outcome, list):
        raise InvalidFile(lines(document, outcome))
    return outcome


def lines(document: Document, complaints: Sequence[Complaint]) -> list[str]:
    """`path:line:column: …` for each complaint, in the order of the file, without repetitions."""
    placed = {
        (document.position(complaint.loc, complaint.key), complaint.message) for complaint in complaints
    }
    return [f"{document.path}:{line}:{column}: {message}" for (line, column), message in sorted(placed)]


_IN_PLAIN_WORDS = (
    ("'\\t'", False, "a tab cannot indent YAML, use spaces"),
    (
        "expected <block end>",
        False,
        "this does not continue the lines above: check the indentation and the quotes",
    ),
    ("could not find expected ':'", True, "a key without ': ', a colon and a space"),
    (
        "mapping values are not allowed",
        False,
        "a second ': ' in one value: use quotes, or indent keys alike",
    ),
    ("while parsing a flow sequence", True, "a list is not closed, or lacks a comma: expected ',' or ']'"),
    ("while parsing a flow mapping", True, "a mapping is not closed, or lacks a comma: expected ',' or '}'"),
    ("while scanning a quoted scalar", True, "a quotation mark is not closed"),
    ("but found another document", False, "a file has one document: leave out '---' between two"),
    ("cannot start any token", False, "no value begins with this character: put text in quotes"),
    ("expected the node content", False, "a value is missing before this place, or a comma is too many"),
    ("while scanning an alias", True, "an alias (*) without a name: put text in quotes"),
    ("found undefined alias", False, "an alias (*) of a name that no anchor (&) gives: put text in quotes"),
)
"""Words of PyYAML's message, whether to point at the start of the faulty value, and our message."""


def _compose(path: Path, text: str) -> yaml.Node | None:
    """The root node of a text; None if the text is empty.

    Raises:
        InvalidFile: the text is not YAML, or is nested too deeply.
    """
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except _TooLarge as error:
        raise InvalidFile([f"{path}:{error.line + 1}:{error.column + 1}: {error}"]) from None
    except yaml.MarkedYAMLError as error:
        problem = " ".join(text for text in (error.context, error.problem) if text)
        mark = error.problem_mark or error.context_mark
        for phrase, at_start, plain in _IN_PLAIN_WORDS:
            if phrase in problem:
                problem, mark = plain, error.context_mark if at_start and error.context_mark else mark
                break
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise InvalidFile([f"{place}: not valid YAML: {problem}"]) from None
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        raise InvalidFile(
            [f"{path}:{line}:{column}: not valid YAML: control character #x{error.character:02x}"]
        ) from None
    except RecursionError:
        raise InvalidFile([f"{path}: is nested too deeply"]) from None
    finally:
        if loader is not None:
            loader.dispose()


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The key's and the value's node (the same twice in a list), or None if there is no such part."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == part:
                return key, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _plain(node: yaml.Node, problems: _Problems, inside: tuple[yaml.Node, ...]) -> Any:
    """A node as plain data. Faults are added to `problems`, with None in place of the faulty value."""
    if any(node is outer for outer in inside):
        problems.append((_at(node), "an alias refers to the value that contains it"))
        return None
    if isinstance(node, yaml.MappingNode) and node.tag == _CORE + "map":
        return {key: _plain(value, problems, (*inside, node)) for key, value in _entries(node, problems)}
    if isinstance(node, yaml.SequenceNode) and node.tag == _CORE + "seq":
        return [_plain(value, problems, (*inside, node)) for value in node.value]
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, problems)
    problems.append((_at(node), f"the tag {_tag_of(node)} is not supported here, leave it out"))
    return None


def _entries(node: yaml.MappingNode, problems: _Problems) -> Iterator[tuple[str, yaml.Node]]:
    """Keys and value nodes of a mapping, without those whose key is faulty."""
    first: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag != _CORE + "str":
            shown = f"key {key.value}" if isinstance(key, yaml.ScalarNode) else "this key"
            problems.append((_at(key), f"{shown} is not text, put it in quotes"))
        elif key.value == "<<":
            problems.append((_at(key), "merge keys (<<) are not supported, write the keys out"))
        elif fault := _character_fault(key.value):
            problems.append((_at(key), fault))
        elif key.value in first:
            problems.append((_at(key), f"duplicate key '{key.value}' (first on line {first[key.value]})"))
        else:
            first[key.value] = key.start_mark.line + 1
            yield key.value, value


def _scalar(node: yaml.ScalarNode, problems: _Problems) -> str | int | float | bool | None:
    """A scalar as text, number, boolean or null, by its tag."""
    kind, text = node.tag.removeprefix(_CORE), node.value
    try:
        match kind:
            case "str" if fault := _character_fault(text):
                problems.append((_at(node), fault))
            case "str":
                return str(text)
            case "null":
                return None
            case "bool":
                return {"true": True, "false": False}[text.lower()]
            case "int":
                if not -(2**63) <= (whole := int(text)) < 2**64:
                    problems.append((_at(node), f"'{text:.40}' needs more than 64 bits"))
                return whole
            case "float" if not re.fullmatch(NOT_FINITE, text) and math.isfinite(number := float(text)):
                return number
            case "float":
                problems.append((_at(node), f"{text} is not a finite number"))
            case _:
                problems.append((_at(node), f"the tag {_tag_of(node)} is not supported here, leave it out"))
    except (ValueError, KeyError):
        problems.append((_at(node), f"'{text:.40}' is not a value of type {kind}"))
    return None


def _character_fault(text: str) -> str | None:
    """What is wrong with a text that no text file could contain unescaped; None if nothing is."""
    if (match := _NO_TEXT.search(text)) is None:
        return None
    return f"text contains \\u{ord(match[0]):04x}, which is not a printable character: leave it out"


def _tag_of(node: yaml.Node) -> str:
    return "!!" + node.tag.removeprefix(_CORE) if node.tag.startswith(_CORE) else str(node.tag)


def _at(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
