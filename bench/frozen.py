"""Immutable settings, compared and hashed by their fields; unknown fields are errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self, TypeVar

from pydantic import BaseModel, ConfigDict, create_model
from pydantic_core import to_jsonable_python


class Frozen(BaseModel):
    """Base class of everything that a suite can set. Unknown fields, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    later_fields: ClassVar[Mapping[str, Any]] = {}
    """Fields that were added after results existed, each with the value that means the earlier behaviour. A
    field with that value is left out of the identity, so that earlier results keep their ids."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values of some fields, which are not validated.

        pydantic copies cached properties too. A copy of a run with another seed would keep the run's id.
        """
        copied = super().model_copy(update=update, deep=deep)
        for name in copied.__dict__.keys() - type(self).__pydantic_fields__.keys():
            del copied.__dict__[name]
        return copied


Model = TypeVar("Model", bound=Frozen)


def with_fields(fields: Mapping[str, tuple[Any, Any]]) -> Callable[[type[Model]], type[Model]]:
    """A class decorator that appends fields to a model: by name, the type and the default or `Field`."""

    def extended(model: type[Model]) -> type[Model]:
        create: Any = create_model  # its signature cannot describe fields that are known by name only
        result: type[Model] = create(
            model.__name__, __base__=model, __doc__=model.__doc__, __module__=model.__module__, **fields
        )
        return result

    return extended


def record_fault(settings: Frozen) -> str | None:
    """Why settings cannot be recorded, or None: they must be JSON data, and must not change.

    Caches look settings up by their hash, which a field that can change does not have.
    """
    try:
        json.dumps(identity(settings), allow_nan=False)
        hash(settings)
    except (TypeError, ValueError) as error:  # pydantic's serialisation errors are ValueErrors
        return f"{error}; fields must be text, numbers or tuples of them, no lists and mappings"
    return None


_SCALARS = frozenset({str, int, float, bool, type(None)})
"""Types whose values are JSON data as they are. (No setting is NaN or infinite.)"""


def identity(value: Any) -> Any:
    """A setting as JSON data with every field that affects a number; a run's id is the hash of it.

    It is `model_dump(mode="json")`, less each model's `later_fields` at their earlier values. A field
    whose default changes one day keeps the value it was added with in `later_fields`. A field that affects
    no number is excluded from both (`Field(exclude=True)`).
    """
    if type(value) in _SCALARS:  # most values by far
        return value
    if isinstance(value, Frozen):
        fields, later = value.__dict__, value.later_fields
        return {
            name: identity(fields[name])
            for name, field in type(value).__pydantic_fields__.items()
            if not field.exclude and (name not in later or fields[name] != later[name])
        }
    if isinstance(value, Mapping):
        return {str(key): identity(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [identity(inner) for inner in value]
    return to_jsonable_python(value)
