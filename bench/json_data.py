"""JSON data: a digest that identifies a value, and the scalars that it contains."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that identify a JSON value."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Yield every scalar inside nested dicts and lists, with its path of keys and indices.

    A list without dicts counts as a scalar: its JSON text.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, dict | list | tuple | Mapping):
                yield from leaves(inner, (*path, str(key)))
            else:
                yield (*path, str(key)), inner
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, str(index)))
    else:
        yield path, json.dumps(value) if isinstance(value, list | tuple) else value
