"""The pieces of a training: what was recorded of each process is read again, and what was not is missing."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import experiment_of, grid, record_of, result_of, suite_of, task_named

from bench.report.data.frame import results_frame
from bench.report.data.provenance import summarise
from bench.report.page.runs import COLUMNS, page_runs
from bench.results import Pool, RunRecord
from bench.results.long import PIECES, pieces_frame
from bench.results.pieces import trained_pieces

(RUN,) = grid(task_named(n_points=6), ("mamba",), sizes=((2, 64),), learning_rates=(1e-3,))
OLD = {"device": "H100", "host": "a", "from_step": 0}
"""A piece as older results have it."""
WHOLE = {
    **OLD,
    "commit": "c" * 40,
    "dirty": False,
    "source": "d" * 12,
    "cuda": "12.8",
    "torch": "2.11.0",
    "triton": "3.6.0",
    "kernels": "triton",
    "backends": {"Mamba block": "triton", "selective scan": "sequential"},
    "captured": True,
    "processes": 2,
    "members": 4,
}


def record(**provenance: Any) -> RunRecord:
    return record_of(result_of(RUN, provenance={"synthetic": False, **provenance}))


text = st.text("abc 1.", min_size=1, max_size=8)
whole_pieces = st.fixed_dictionaries(
    dict.fromkeys(("device", "host", "commit", "source", "cuda", "torch", "triton", "kernels"), text)
    | {name: st.booleans() for name in ("dirty", "captured")}
    | {name: st.integers(1, 64) for name in ("processes", "members")}
    | {"backends": st.dictionaries(text, text, max_size=4)}
)


@given(st.lists(st.tuples(st.integers(0, RUN.steps), whole_pieces), min_size=1, max_size=5))
def test_what_was_recorded_of_every_process_is_read_again(drawn: list[tuple[int, dict[str, Any]]]) -> None:
    steps = [0, *sorted(step for step, _ in drawn)[1:]]
    pieces = [{"from_step": step, **piece} for step, (_, piece) in zip(steps, drawn, strict=True)]
    result = record(pieces=json.loads(json.dumps(pieces)))
    trained = trained_pieces(result)
    assert [piece.model_dump() for _, _, piece in trained] == pieces
    assert [begin for begin, _, _ in trained] == steps
    assert [end for _, end, _ in trained] == [*steps[1:], RUN.steps]
    frame = pieces_frame(Pool(runs={RUN.id: result}, baselines={}))
    assert list(frame.columns) == list(PIECES)
    assert list(frame["piece"]) == list(range(len(pieces)))
    named = {"stack_members": "members"}
    for column in frame.columns.drop(["id", "piece", "from_step", "to_step", "backends"]):
        assert list(frame[column]) == [piece[named.get(column, column)] for piece in pieces]
    assert [json.loads(text) for text in frame["backends"]] == [piece["backends"] for piece in pieces]


LAST = {"device": "H200", "scan": "triton", "captured": True, "packages": {"torch": "2.11.0"}}
"""The provenance of a result, which describes the process that stored it."""


@pytest.mark.parametrize(
    ("provenance", "steps", "kernels"),
    [
        ({"resumptions": 0}, [(0, RUN.steps)], ["triton"]),
        # Resumed, and older than pieces: where its process began was not recorded.
        ({"resumptions": 2}, [(None, RUN.steps)], ["triton"]),
        ({}, [(None, RUN.steps)], ["triton"]),
        # Older pieces: the code and the kernels of the first process were not recorded.
        (
            {"resumptions": 1, "pieces": [OLD, {**OLD, "device": "H200", "from_step": 7}]},
            [(0, 7), (7, RUN.steps)],
            [None, "triton"],
        ),
        # Begun by an older version, ended by this one.
        (
            {"resumptions": 1, "pieces": [OLD, {**WHOLE, "from_step": 7, "kernels": "mamba_ssm"}]},
            [(0, 7), (7, RUN.steps)],
            [None, "mamba_ssm"],
        ),
    ],
)
def test_what_older_results_lack_is_missing(
    provenance: dict[str, Any], steps: list[tuple[int | None, int]], kernels: list[str | None]
) -> None:
    result = record(**LAST, **provenance)
    trained = trained_pieces(result)
    assert [(begin, end) for begin, end, _ in trained] == steps
    assert [piece.kernels for _, _, piece in trained] == kernels
    assert [piece.torch for _, _, piece in trained] == [kernel and "2.11.0" for kernel in kernels]
    frame = pieces_frame(Pool(runs={RUN.id: result}, baselines={}))
    assert [not missing for missing in frame["from_step"].isna()] == [begin is not None for begin, _ in steps]
    assert [None if pd.isna(name) else name for name in frame["kernels"]] == kernels


def test_the_last_step_of_a_run_that_diverged_is_missing() -> None:
    result = record_of(result_of(RUN, outcome="diverged", provenance={"pieces": [WHOLE]}))
    assert [(begin, end) for begin, end, _ in trained_pieces(result)] == [(0, None)]


def shown(**provenance: Any) -> dict[str, str]:
    """What the page shows of a result's provenance."""
    suite = suite_of(experiment_of([RUN]))
    pool = Pool(runs={RUN.id: record(**provenance)}, baselines={})
    ((row),) = page_runs(suite, pool, results_frame(suite.runs, pool, {}).drop_duplicates("id")).rows
    return dict(row[COLUMNS.index("provenance")])


def test_the_page_shows_the_kernels_of_each_piece_where_they_were_recorded() -> None:
    old = shown(**LAST, resumptions=0)
    assert not any(label.startswith("steps") for label in old)
    resumed = shown(**LAST, pieces=[OLD, {**WHOLE, "from_step": 1234}])
    added = [(label, text) for label, text in resumed.items() if label not in old]
    (first, of_first), (second, of_second) = added
    assert "0 to 1,234" in first
    assert "1,234" in second
    assert f"{RUN.steps:,}" in second
    assert "not recorded" in of_first
    for words in ("H100", "2.11.0", "c" * 12, "Mamba block: triton", "selective scan: sequential", "4 "):
        assert words in of_second


def test_the_page_does_not_call_the_evaluation_of_a_resumed_process_steps() -> None:
    pieces = [WHOLE, {**WHOLE, "from_step": RUN.steps}]
    steps, evaluation = [label for label in shown(**LAST, pieces=pieces) if "step" in label]
    assert f"from 0 to {RUN.steps:,}" in steps
    assert evaluation.count(f"{RUN.steps:,}") == 1
    assert "from" not in evaluation
    frame = pieces_frame(Pool(runs={RUN.id: record(**LAST, pieces=pieces)}, baselines={}))
    assert list(frame["from_step"]) == [0, RUN.steps]
    assert list(frame["to_step"]) == [RUN.steps, RUN.steps]


@pytest.mark.parametrize(
    ("field", "value", "warned"),
    [("device", "H200", True), ("source", "e" * 12, True), ("torch", "2.10.0", True),
     ("kernels", "sequential", True), ("host", "b", False), ("device", None, False)],
)  # fmt: skip
def test_a_report_warns_of_runs_whose_pieces_differ(field: str, value: str | None, warned: bool) -> None:
    def warnings(*pieces: dict[str, Any]) -> list[str]:
        pool = Pool(runs={RUN.id: record(pieces=list(pieces))}, baselines={})
        return list(summarise(pool, [RUN.id], {}).warnings)

    alike = warnings(WHOLE, {**WHOLE, "from_step": 5})
    assert alike == warnings(WHOLE)
    mixed = warnings(WHOLE, {**WHOLE, "from_step": 5, field: value})
    assert len(mixed) - len(alike) == warned
