"""The fewest fields that tell records apart: tasks of one name, variants of one architecture."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

Field = TypeVar("Field", bound=Hashable)


def telling_fields(
    records: Sequence[Mapping[Field, Any]],
    groups: Sequence[Hashable],
    order: Callable[[Field], Any],
    families: Sequence[Hashable] | None = None,
) -> list[list[Field]]:
    """Choose, for each record, the fewest fields that tell the different records of its group apart.

    Args:
        records: values by field; a field that a record lacks counts as None.
        groups: of each record. Records of different groups need not be told apart.
        order: sorts the fields. A field is chosen if it tells records apart that the fields before do not.
        families: of each record. A field that one group needs is chosen in the group's whole family. By
            default every group is a family.
    """
    families = groups if families is None else families
    all_fields = {field for record in records for field in record}
    fields = sorted(
        (field for field in all_fields if len({record.get(field) for record in records}) > 1), key=order
    )
    chosen: dict[Hashable, list[Field]] = {family: [] for family in families}
    for field in fields:
        values: dict[tuple[Hashable, Hashable, tuple[Any, ...]], set[Any]] = {}
        for record, group, family in zip(records, groups, families, strict=True):
            alike = tuple(record.get(other) for other in chosen[family])
            values.setdefault((family, group, alike), set()).add(record.get(field))
        for family in {key[0] for key, different in values.items() if len(different) > 1}:
            chosen[family].append(field)
    return [chosen[family] for family in families]
