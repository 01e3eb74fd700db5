"""Translate pydantic's errors into plain complaints at places that exist in the data.

Pydantic's locations include union members and missing keys. A complaint is about a key or a value that is
in the file, or about the mapping that lacks a key, and states what would be right.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from bench.errors import UserError, did_you_mean
from bench.strict_yaml.numbers import FRACTION, WHOLE_NUMBER

T = TypeVar("T", bound=BaseModel)
MOST_KEYS = 8
"""A complaint about a value that should be a mapping names its keys if there are no more than these."""
_WORD = re.compile(r"\w+(?:-\w+)*")
"""A word of a message that may be a key, such as `steps` or `job-name`."""
Loc = tuple[str | int, ...]
"""Keys and indices from the root of some data to a part of it."""


@dataclass(frozen=True)
class Complaint:
    """One fault in the data.

    Attributes:
        loc: the place of a value that exists.
        message: what is wrong and what would be right.
        key: the complaint is about the key at `loc`, not its value.
    """

    loc: Loc
    message: str
    key: bool = False

    def under(self, loc: Loc) -> Complaint:
        """The complaint with its location moved under `loc`, for data that is a part of other data."""
        return replace(self, loc=(*loc, *self.loc))


def validated(model: type[T], data: Any) -> T | list[Complaint]:
    """`data` as a `model`, or all complaints about it.

    Text is never read as a number, and true never as 1. 5e5 is a whole number, like 500000.
    """
    text = json.dumps(_whole(data), allow_nan=False)
    try:
        return model.model_validate_json(text, strict=True)
    except ValidationError as error:
        errors: list[Any] = [item for item in error.errors() if not _is_list_for_tuple(item)]
        spurious = len(errors) < error.error_count()
    # Strict validation may have stopped at such a list. Lax validation shows what else is wrong behind it.
    if spurious:
        try:
            lax = model.model_validate_json(text)
        except ValidationError as error:
            seen = {item["loc"] for item in errors}
            errors += [item for item in error.errors() if item["loc"] not in seen]
        if not errors:
            return lax
    return list(_complaints(errors, model, data))


def of_values(model: type[T], values: Mapping[str, Any]) -> T:
    """A `model` of Python values, some of which may be models already. It is as strict as `validated`.

    Raises:
        UserError: a value does not fit; all complaints, a line for each.
    """
    data = _whole(dict(values))
    try:
        return model.model_validate(data, strict=True)
    except ValidationError as error:
        refuse(list(_complaints(error.errors(), model, data)))
        raise


def refuse(complaints: Sequence[Complaint]) -> None:
    """Raise a UserError with all complaints, if there are any."""
    if complaints:
        raise UserError("\n".join(dict.fromkeys(complaint.message for complaint in complaints)))


def shown(value: Any) -> str:
    """A value as text for a message."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 60 else f"'{value[:57]}…'"
    return str(value)


def _whole(data: Any) -> Any:
    """The data with numbers such as 5e5 as integers, which strict validation of an integer requires."""
    if isinstance(data, dict):
        return {key: _whole(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_whole(value) for value in data]
    if isinstance(data, tuple):
        return tuple(_whole(value) for value in data)
    if isinstance(data, float) and data.is_integer() and abs(data) < 2**53:
        return int(data)
    return data


def _is_list_for_tuple(error: Any) -> bool:
    """Whether pydantic refused a list for a tuple, as strict mode does after a "before" validator."""
    return error["type"] == "tuple_type" and isinstance(error["input"], list)


def _complaints(errors: Iterable[Any], model: type[BaseModel], data: Any) -> Iterator[Complaint]:
    """One complaint per error; errors of several members of a union become one complaint.

    A value of a wrong type is refused by every member: the complaint lists the types that are expected. If a
    member accepts the type and refuses something inside, only that is a complaint.
    """
    expected: defaultdict[Loc, list[str]] = defaultdict(list)  # by place, the types that are accepted
    explained: set[Loc] = set()  # places that have, or contain, a more specific complaint
    errors = list(errors)
    for error in errors:
        if error["type"] == "too_short" and any(_is_inside(other["loc"], error["loc"]) for other in errors):
            continue  # pydantic counts the valid values only
        loc, value = _existing(error["loc"], data)
        if error["type"] in _EXPECTED:
            expected[loc].append(_EXPECTED[error["type"]])
        else:
            explained.update(loc[:end] for end in range(len(loc) + 1))
            yield _complaint(error, loc, value, model)
    for loc in expected:
        explained.update(loc[:end] for end in range(len(loc)))
    for loc, names in expected.items():
        if loc not in explained:
            value = _existing(loc, data)[1]
            keys = _keys_at(model, loc) if {*names} <= {"a mapping", "null"} else []
            yield _wrong_type(loc, list(dict.fromkeys(names)), value, keys)


def _is_inside(loc: Loc, outer: Loc) -> bool:
    return len(loc) > len(outer) and loc[: len(outer)] == outer


def _wrong_type(loc: Loc, expected: list[str], value: Any, keys: list[str]) -> Complaint:
    """A complaint about a value of none of the expected types, or about nothing in place of these keys."""
    if 0 < len(keys) <= MOST_KEYS and value is not None:
        message = f"expected a mapping (keys: {', '.join(keys)}), got {shown(value)}"
        return Complaint(loc, _about(loc, message))
    if keys and value is None:
        return Complaint(loc, _about(loc, f"is empty, expected one or more of the keys {', '.join(keys)}"))
    if len(expected) > 1:  # a key that may be left out needs no null
        expected = [name for name in expected if name != "null"]
    right = ""
    if any("number" in name for name in expected):
        right = _as_number(value, whole="a number" not in expected)
    return Complaint(loc, _about(loc, f"expected {' or '.join(expected)}, got {shown(value)}{right}"))


def _as_number(value: Any, whole: bool) -> str:
    """How to write a text that is meant as a number, such as 20k, 20,000 or "20"; empty for other values."""
    if not isinstance(value, str):
        return ""
    plain = value.strip()
    if re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+", plain):
        return f": write {plain.replace(',', '_')}"
    if match := re.fullmatch(r"([0-9]+)([kKM])", plain):
        zeros = {"k": "_000", "K": "_000", "M": "_000_000"}[match[2]]
        return f": write {match[1]}{zeros}"
    if re.fullmatch(WHOLE_NUMBER, plain) or (not whole and re.fullmatch(FRACTION, plain)):
        return f": write {plain} without quotes"
    return ""


def _complaint(error: Any, loc: Loc, value: Any, model: type[BaseModel]) -> Complaint:
    kind, context = error["type"], error.get("ctx", {})
    match kind:
        case "extra_forbidden":
            valid = _keys_at(model, error["loc"][:-1])
            return Complaint(loc, f"unknown key '{loc[-1]}'{did_you_mean(str(loc[-1]), valid)}", key=True)
        case "missing":
            return Complaint(loc, f"missing key '{error['loc'][-1]}'")
        case "union_tag_not_found":
            return Complaint(loc, f"missing key {context['discriminator']}")
        case "union_tag_invalid":
            tag, key = context["tag"], context["discriminator"].strip("'")
            tags = re.findall(r"'([^']*)'", context["expected_tags"])
            noun = (_name(loc) or "value").removesuffix("s")
            place = (*loc, key) if isinstance(value, Mapping) else loc
            return Complaint(place, f"unknown {noun} '{tag}'{did_you_mean(tag, tags)}")
        case "value_error" | "assertion_error":
            message = str(context["error"])
            loc = _narrowed(loc, value, message)
            named = _name(loc) in _WORD.findall(message)
            return Complaint(loc, message if named else _about(loc, message))
        case _:
            return Complaint(loc, _about(loc, _message(kind, context, value, error["msg"])))


_EXPECTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "string_type": "text",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "mapping_type"), "a mapping"),
    "none_required": "null",
}


def _message(kind: str, context: Mapping[str, Any], value: Any, otherwise: str) -> str:
    match kind:
        case "literal_error" | "enum":
            words = re.findall(r"'([^']*)'", context["expected"])
            if words and isinstance(value, str):
                return f"unknown value {shown(value)}{did_you_mean(value, words)}"
            return f"expected {context['expected']}, got {shown(value)}"
        case "greater_than":
            return f"must be greater than {_bound(context['gt'])}, got {shown(value)}"
        case "greater_than_equal":
            return f"must be at least {_bound(context['ge'])}, got {shown(value)}"
        case "less_than":
            return f"must be less than {_bound(context['lt'])}, got {shown(value)}"
        case "less_than_equal":
            return f"must be at most {_bound(context['le'])}, got {shown(value)}"
        case "multiple_of":
            return f"must be a multiple of {context['multiple_of']:g}, got {shown(value)}"
        case "too_short" | "string_too_short" if context["min_length"] == 1:
            return "must not be empty"
        case "too_short":
            return f"needs at least {context['min_length']} values, got {context['actual_length']}"
        case "too_long":
            return f"takes at most {context['max_length']} values, got {context['actual_length']}"
        case "string_pattern_mismatch":
            return f"{shown(value)} does not match {context['pattern']}"
        case _:
            return otherwise.replace("Input should be", "expected").replace("Input", "the value")


def _bound(value: Any) -> str:
    """A bound as text, whole numbers in full: 18446744073709551616, 0.5."""
    return str(int(value)) if float(value).is_integer() else f"{value:g}"


def _existing(loc: Loc, data: Any) -> tuple[Loc, Any]:
    """The parts of a pydantic location that exist in the data, and the value there.

    The other parts are names of union members, or of missing keys.
    """
    path: list[str | int] = []
    for part in loc:
        inside = isinstance(data, dict) and part in data
        if inside or (isinstance(data, list | tuple) and isinstance(part, int) and part < len(data)):
            path.append(part)
            data = data[part]
    return tuple(path), data


def _narrowed(loc: Loc, value: Any, message: str) -> Loc:
    """The location of the first key that a rule about a whole mapping names in its message."""
    if isinstance(value, Mapping):
        for word in _WORD.findall(message):
            if word in value:
                return (*loc, word)
    return loc


def _name(loc: Loc) -> str | None:
    return next((part for part in reversed(loc) if isinstance(part, str)), None)


def _about(loc: Loc, message: str) -> str:
    """A message that begins with the key that it is about."""
    return f"{name}: {message}" if (name := _name(loc)) else message


def _keys_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Keys that a mapping at a pydantic location may have."""
    candidates: list[Any] = [model]
    for part in loc:
        options = [option for candidate in candidates for option in _members(candidate)]
        inner = [below for option in options if (below := _below(option, part)) is not None]
        chosen = [option for option in options if isinstance(part, str) and _is_member(option, part)]
        candidates = inner or chosen or options
    models = [option for candidate in candidates for option in _members(candidate) if _is_model(option)]
    return list(dict.fromkeys(field.alias or name for m in models for name, field in m.model_fields.items()))


def _members(annotation: Any) -> list[Any]:
    """The members of a union, without aliases and metadata. Any other type is its only member."""
    origin = get_origin(annotation)
    if origin is typing.Annotated:
        return _members(get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [member for argument in get_args(annotation) for member in _members(argument)]
    return [annotation]


def _below(annotation: Any, part: str | int) -> Any:
    """The type of the value under key or index `part` of a value of this type, or None."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if _is_model(annotation):
        field = annotation.model_fields.get(part)
        return field.annotation if field else None
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return arguments[1] if len(arguments) == 2 else None
    if isinstance(part, int) and isinstance(origin, type) and issubclass(origin, Sequence) and arguments:
        return arguments[0]
    return None


def _is_member(option: Any, tag: str) -> bool:
    """Whether a tag in a location names this union member, by its class or its literal `name`."""
    if not _is_model(option):
        return False
    literals = (f.annotation for f in option.model_fields.values() if get_origin(f.annotation) is Literal)
    return option.__name__ == tag or any(tag in get_args(literal) for literal in literals)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
