"""Fields that tell records apart are few, and enough."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.differences import telling_fields

RECORDS = st.lists(
    st.tuples(st.sampled_from("xy"), st.dictionaries(st.sampled_from("abcd"), st.integers(0, 2)))
)


@given(RECORDS)
def test_different_records_of_a_group_differ_in_the_chosen_fields(
    grouped: list[tuple[str, dict[str, int]]],
) -> None:
    groups, records = [group for group, _ in grouped], [record for _, record in grouped]
    chosen = telling_fields(records, groups, order=str)
    seen: dict[tuple[object, ...], dict[str, int | None]] = {}
    for group, record, fields in zip(groups, records, chosen, strict=True):
        whole = {field: record.get(field) for field in "abcd"}
        assert seen.setdefault((group, *map(record.get, fields)), whole) == whole


@given(RECORDS)
def test_no_chosen_field_repeats_what_those_before_it_tell(grouped: list[tuple[str, dict[str, int]]]) -> None:
    groups, records = [group for group, _ in grouped], [record for _, record in grouped]
    for group, fields in zip(groups, telling_fields(records, groups, order=str), strict=True):
        members = [record for other, record in grouped if other == group]
        counts = [
            len({tuple(map(record.get, fields[:n])) for record in members}) for n in range(len(fields) + 1)
        ]
        assert counts == sorted(set(counts))


def test_a_field_that_one_group_needs_is_chosen_in_its_family() -> None:
    records = [{"rate": 1, "size": 1}, {"rate": 2, "size": 1}, {"rate": 1, "size": 2}]
    assert telling_fields(records, [0, 0, 1], str, families="aaa") == [["rate"]] * 3
    assert telling_fields(records, [0, 0, 1], str) == [["rate"], ["rate"], []]
