"""`bench tasks`, as a user meets it; and the table of where text and released code differ."""

from __future__ import annotations

import json

import pytest
from command import bench

from bench.models.architectures import ARCHITECTURES
from bench.paper import protocol
from bench.tasks import TASKS


@pytest.mark.slow
def test_all_tasks_are_listed_with_their_lengths() -> None:
    lines = bench("tasks").stdout.splitlines()
    for name, kind in TASKS.items():
        (line,) = (line for line in lines if line.startswith(f"{name} "))
        assert str(kind.example().length(kind.example().n_points)) in line.split()


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_a_task_shows_its_prompt_and_every_field(name: str) -> None:
    output = bench("tasks", name).stdout
    assert inspect_first_line(name) in output
    assert "\n:\n" not in output  # the marks of indented text
    for field in TASKS[name].model_fields:
        assert f"\n{field} " in output


def inspect_first_line(name: str) -> str:
    return (TASKS[name].__doc__ or "").strip().splitlines()[0].strip()


@pytest.mark.slow
def test_an_unknown_task_is_an_error_with_a_way_out() -> None:
    process = bench("tasks", "decision")
    assert process.returncode == 2
    assert "unknown task 'decision', did you mean 'decision_tree'?" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.slow
def test_scripts_get_the_same_as_json() -> None:
    facts = json.loads(bench("tasks", "--json").stdout)
    assert list(facts) == list(TASKS)
    assert facts["chain_of_thought"]["n_inputs"] == [10, 8, 1]
    assert facts["sparse_parity"]["protocol"]["subset"]["released_code"] == "per_batch"


def test_every_difference_names_fields_that_exist_and_their_defaults() -> None:
    for one in protocol.ELSEWHERE:
        if one.where in ARCHITECTURES:
            blocks = ARCHITECTURES[one.where].layer
            (default,) = {str(getattr(block, one.field)) for block in blocks}
            assert default == one.released_code
            assert one.default.startswith(default)
    fields = {(name, field) for name, kind in TASKS.items() for field in kind.protocol_fields}
    table = protocol.markdown()
    for _, field in fields:
        assert f"`{field}`" in table


@pytest.mark.slow
def test_differences_are_one_markdown_table() -> None:
    lines = bench("tasks", "--differences").stdout.splitlines()
    assert lines == protocol.markdown().splitlines()
    assert {line.count("|") for line in lines} == {6}
