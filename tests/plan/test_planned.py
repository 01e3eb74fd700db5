"""What is planned: which runs are meant, what is left of them, what they cost."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from command import ROOT
from hypothesis import given
from hypothesis import strategies as st
from synthetic import (
    experiment_of,
    grid,
    of_steps,
    run_of,
    speed_record,
    suite_of,
    task_named,
    write_pool,
)

from bench import suite as suites
from bench.cli import arguments, withdraw
from bench.cli.arguments import SuiteChoice
from bench.cli.plan import show_plan
from bench.dispatch.stack_sizes import MEMORY_SHARE
from bench.dispatch.status import RunStatus
from bench.errors import UserError
from bench.optimizers import AdamW
from bench.plan.planned import FILTER_FIELDS, Planned, Total, longest_first, plan, select, stacked
from bench.plan.time import Speeds, TimeEstimate, cautious_seconds
from bench.results import Pool
from bench.run import Stop
from bench.speed import records
from bench.speed.records import flops_per_step, shape_of

LINEAR, PARITY = task_named("linear_regression"), task_named("sparse_parity")
FIRST = grid(LINEAR, ("transformer", "mamba"), ((4, 256), (2, 128)), (1e-4, 5e-5), (0, 1))
SECOND = (
    run_of(PARITY, "mamba", learning_rate=4e-4, clip=50, steps=1_000_000),
    run_of(PARITY, "s4", learning_rate=0.02, optimizer=AdamW()),
    FIRST[0],
)
SUITE = suite_of(experiment_of(FIRST, "first"), experiment_of(SECOND, "second"))
NOWHERE = Path("/nowhere/results")


def planned(results: Path = NOWHERE, pool: Pool | None = None) -> list[Planned]:
    return plan(SUITE, results, pool or Pool(), Speeds(Pool()))


def chosen(terms: str | None) -> list[Planned]:
    return select(planned(), terms)


# Which runs


def test_a_run_that_two_experiments_share_is_planned_once_for_both() -> None:
    runs = planned()
    assert len(runs) == len(FIRST) + len(SECOND) - 1 == len({one.run.id for one in runs})
    assert runs[0].experiments == ("first", "second")
    assert runs[1].experiments == ("first",)
    assert [one.run for one in runs] == list(SUITE.runs)


@pytest.mark.parametrize("terms", [None, "task=*"])
def test_without_a_filter_all_runs_are_meant(terms: str | None) -> None:
    assert chosen(terms) == planned()


@pytest.mark.parametrize(
    ("terms", "meant"),
    [
        ("architecture=mamba", lambda run: run.architecture.name == "mamba"),
        ("architecture=ma*,s4", lambda run: run.architecture.name in ("mamba", "s4")),
        ("task=sparse_parity", lambda run: run.task == PARITY),
        ("size=2x128", lambda run: run.size.layers == 2),
        ("size=small", lambda run: run.size_group == "small"),
        ("layers=4 width=256", lambda run: run.size.layers == 4),
        ("learning_rate=1e-4", lambda run: run.learning_rate == 1e-4),
        ("clip=50", lambda run: run.clip == 50),
        ("optimizer=adamw", lambda run: run.optimizer.name == "adamw"),
        ("steps=1000000", lambda run: run.steps == 1_000_000),
        ("seed=1 task=linear_regression architecture=mamba", lambda run: run in FIRST[8:] and run.seed == 1),
        ("experiment=second", lambda run: run in SECOND),
        ("experiment=first,second", lambda run: True),
        (f"id={FIRST[3].id}", lambda run: run == FIRST[3]),
        (f"id={FIRST[3].id[:6]}*", lambda run: run == FIRST[3]),
        ("state=missing", lambda run: True),
    ],
)
def test_a_term_keeps_the_runs_whose_field_matches(terms: str, meant: Any) -> None:
    kept = [one.run for one in chosen(terms)]
    assert kept == [run for run in SUITE.runs if meant(run)]
    assert kept


@pytest.mark.parametrize(
    "spellings",
    [
        ("learning_rate=1e-4", "learning_rate=0.0001", "learning_rate=1.0e-04", "learning_rate=.1e-3"),
        ("learning_rate=0.02", "learning_rate=2e-2", "learning_rate=.02"),
        ("clip=50", "clip=50.0", "clip=5e1"),
        ("steps=1000000", "steps=1_000_000", "steps=1e6"),
        ("seed=1", "seed=01"),
        ("width=256", "width=256.0"),
        ("size=4x256", "size=4×256"),
    ],
)
def test_a_number_is_found_however_it_is_written(spellings: tuple[str, ...]) -> None:
    found = [[one.run.id for one in chosen(terms)] for terms in spellings]
    assert found[0]
    assert all(each == found[0] for each in found)


@given(rate=st.floats(min_value=1e-6, max_value=1.0))
def test_every_learning_rate_is_found_as_python_writes_it(rate: float) -> None:
    one = replace(planned()[0], run=run_of(LINEAR, learning_rate=float(f"{rate:.3g}")))
    assert select([one], f"learning_rate={one.run.learning_rate!r}") == [one]


@pytest.mark.parametrize("written", ["1000000", "1e6", "1_000_000", "1000000.0"])
def test_a_large_clip_is_found_by_its_digits(written: str) -> None:
    """Six digits and more are shown as 1e6."""
    one = replace(planned()[0], run=run_of(LINEAR, clip=1e6))
    assert select([one], f"clip={written}") == [one]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ("archtecture=mamba", "unknown filter field 'archtecture', did you mean 'architecture'?"),
        ("colour=red", "unknown filter field 'colour', expected one of: experiment, task, architecture"),
        ("", "the filter is empty, expected field=pattern, such as 'experiment=first'; fields: experiment, "),
        ("  ", "the filter is empty, expected field=pattern"),
        ("mamba", "'mamba' is not of the form field=pattern, did you mean 'architecture=mamba'? Fields: exp"),
        ("second", "'second' is not of the form field=pattern, did you mean 'experiment=second'?"),
        ("s4*", "'s4*' is not of the form field=pattern, did you mean 'architecture=s4*'?"),
        ("secnd", "did you mean 'experiment=second'?"),
        ("task:linear_regression", "did you mean 'task=linear_regression'?"),
        ("architecture:mabma", "did you mean 'architecture=mamba'?"),
        ("architecture=", "'architecture=' is not of the form field=pattern, did you mean 'architecture="),
        ("architecture=mamba, s4", "'architecture=mamba,' has an empty pattern: separate patterns by commas"),
        ("lr=1e-4", "unknown filter field 'lr', did you mean 'learning_rate'?"),
        ("task=linear_regresion", "no task=linear_regresion, did you mean 'linear_regression'?"),
        ("clip=7", "no clip=7, expected one of: 10, 50"),
        ("state=failed", "no state=failed; state is now missing"),
        (
            "state=done",
            "no state=done, expected one of: finished, diverged, running, queued, failed, missing",
        ),
        (
            "state=missing,done",
            "has state=done, expected one of: missing, finished, diverged, running, queued",
        ),
        ("=mamba", "filter term '=mamba' is not of the form field=pattern"),
        ("task=sparse_parity seed=1", "matches none of the suite's 18 runs: no seed=1, expected one of: 0"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_an_error_that_says_what_could(terms: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen(terms)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_size_without_a_name_is_suggested_by_its_numbers() -> None:
    unnamed = [replace(planned()[0], run=run_of(LINEAR, layers=3, width=96))]
    with pytest.raises(UserError, match="did you mean 'size=3x96'"):
        select(unnamed, "size=")
    with pytest.raises(UserError, match=r"no size=small, expected one of: 3x96$"):
        select(unnamed, "size=small")


@given(terms=st.text(max_size=20) | st.sampled_from(["mamb", "secon", "linear", "4x256", "task:no"]))
def test_a_refused_filter_suggests_only_what_is_accepted(terms: str) -> None:
    try:
        assert chosen(terms)
    except UserError as error:
        if suggested := re.search(
            r"is not of the form field=pattern, did you mean '([^']+=[^']*)'\?", str(error)
        ):
            assert chosen(suggested[1])


# What is left


@pytest.mark.parametrize(
    ("state", "left"),
    [
        (RunStatus("missing"), 100.0),
        (RunStatus("failed"), 100.0),
        (RunStatus("running", 125_000), 75.0),
        (RunStatus("missing", 500_000), 0.0),
        (RunStatus("missing", 600_000), 0.0),
        (RunStatus("finished", 500_000), 0.0),
        (RunStatus("diverged", 10), 0.0),
    ],
)
def test_what_is_left_of_a_run_is_what_it_has_not_done(state: RunStatus, left: float) -> None:
    one = Planned(FIRST[0], (), state, TimeEstimate(100.0, "measured"))
    assert one.remaining_seconds == pytest.approx(left)


TOTAL = FIRST[0].evaluation_flops()


@pytest.mark.parametrize(
    ("state", "left"),
    [
        (RunStatus("missing"), 60.0 + 40.0),  # as expected
        (RunStatus("running", 125_000), 45.0 + 40.0),  # not evaluated yet
        # It has measured that a half of its evaluations takes 10 s.
        (
            RunStatus("running", 250_000, evaluation_seconds=10.0, evaluation_flops=TOTAL // 2),
            30.0 + 10.0,
        ),
        # All steps are done, and a quarter of the evaluations is left.
        (
            RunStatus("missing", 500_000, evaluation_seconds=9.0, evaluation_flops=3 * TOTAL // 4),
            3.0,
        ),
        (RunStatus("running", 500_000, evaluation_seconds=9.0, evaluation_flops=TOTAL), 0.0),
        (RunStatus("finished", 500_000), 0.0),
    ],
)
def test_the_evaluations_still_to_come_are_left_too(state: RunStatus, left: float) -> None:
    entry = Planned(FIRST[0], (), state, TimeEstimate(100.0, "measured", 1, 40.0))
    assert entry.remaining_seconds == pytest.approx(left)


def test_unknown_work_is_reckoned_with_by_its_flops_and_what_is_left_of_it() -> None:
    run = run_of(steps=10)
    whole = Planned(run, (), RunStatus("missing"), TimeEstimate(None, "unknown"))
    half = replace(whole, status=RunStatus("missing", 5, evaluation_flops=run.evaluation_flops() // 2))
    assert whole.remaining_seconds is half.remaining_seconds is None
    assert whole.cautious_seconds("cpu") == cautious_seconds(run, "cpu") == 2 * half.cautious_seconds("cpu")
    evaluated_last = replace(whole, status=RunStatus("missing", 10))
    assert evaluated_last.cautious_seconds("cpu") == pytest.approx(run.evaluation_flops() / 1e9)
    assert whole.cautious_seconds("gpu") < whole.cautious_seconds("cpu")
    longer = run_of(steps=20)
    ten_steps = cautious_seconds(longer, "cpu") - cautious_seconds(run, "cpu")
    assert longer.evaluation_flops() == run.evaluation_flops()  # both have three checkpoints
    assert ten_steps * 1e9 == pytest.approx(longer.training_flops_full_length(10))
    measured_one = replace(whole, estimate=TimeEstimate(3.0, "measured"))
    assert measured_one.cautious_seconds("cpu") == 3.0
    assert replace(whole, status=RunStatus("finished", 10)).cautious_seconds("cpu") == 0.0


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=9))
def test_a_total_adds_what_is_known_and_counts_the_rest(values: list[float | None]) -> None:
    total = Total.of(values)
    known = [value for value in values if value is not None]
    assert total.unknown == len(values) - len(known)
    assert total.seconds == (sum(known) if known or not values else None)


# Stacks


def test_records_of_bench_speed_count_as_measurements_of_each_stack() -> None:
    speeds = Speeds(Pool(), "this device", "cpu", [speed_record(run_of(), (1, 10.0), (16, 32.0))])
    assert speeds.kind == "gpu"
    run = run_of(seed=3, steps=1000)
    assert of_steps(speeds.estimate(run, 1)) == (10.0, "measured", 1)
    assert of_steps(speeds.estimate(run, 16)) == (2.0, "measured", 16)
    other = Speeds(Pool(), "another device", "gpu", [speed_record(run_of(), (1, 10.0))])
    assert not other
    assert Speeds(Pool(), None, "cpu", [speed_record(run_of(), (1, 10.0))]).device == "this device"


def test_a_plan_counts_members_and_a_part_of_it_forms_its_own_stacks() -> None:
    record = speed_record(FIRST[0], (1, 10.0), (2, 10.0))
    speeds = Speeds(Pool(), "this device", "gpu", [record])
    runs = plan(SUITE, NOWHERE, Pool(), speeds)
    alike = [entry for entry in runs if shape_of(entry.run) == shape_of(FIRST[0])]
    assert {of_steps(entry.estimate) for entry in alike} == {(2500.0, "measured", 2)}
    assert len(alike) == 2 * len({entry.stack for entry in alike})
    (alone,) = stacked(alike[:1], NOWHERE, speeds)
    assert of_steps(alone.estimate) == (5000.0, "measured", 1)
    members = [entry.estimate.members for entry in stacked(alike, NOWHERE, speeds, largest=3)]
    assert members == [2, 2, 2, 2], "evenly, not three and one"


def test_runs_with_a_result_form_stacks_of_their_own() -> None:
    words = ("missing", "finished", "missing", "diverged")
    runs = [run_of(LINEAR, learning_rate=rate) for rate in (1e-4, 2e-4, 3e-4, 4e-4)]
    unknown = TimeEstimate(None, "unknown")
    entries = [Planned(run, (), RunStatus(word), unknown) for run, word in zip(runs, words, strict=True)]
    stacks = [entry.stack for entry in stacked(entries, NOWHERE, Speeds(Pool()), largest=2)]
    assert stacks == [0, 1, 0, 1]


def test_what_cannot_be_stacked_trains_alone_whatever_was_asked_for() -> None:
    unknown = TimeEstimate(None, "unknown")
    for architecture, members in (("lstm", 1), ("mamba", 3)):
        runs = grid(LINEAR, (architecture,), learning_rates=(1e-4, 2e-4, 3e-4))
        entries = [Planned(run, (), RunStatus("missing"), unknown) for run in runs]
        found = stacked(entries, NOWHERE, Speeds(Pool()), largest=3)
        assert [entry.estimate.members for entry in found] == [members] * 3


def test_stacks_of_a_plan_fit_into_the_gpus_memory() -> None:
    runs = grid(LINEAR, ("mamba",), learning_rates=(1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 6e-4))
    entries = [Planned(run, (), RunStatus("missing"), TimeEstimate(None, "unknown")) for run in runs]
    for members in (1, 2, 3):
        mib = round(1.1 * members * runs[0].unmeasured_bytes() / MEMORY_SHARE / 2**20)
        speeds = Speeds(Pool(), "this device", "gpu", memory_mib=mib)
        found = stacked(entries, NOWHERE, speeds)
        assert {entry.estimate.members for entry in found} == {members}


def test_a_run_that_stopped_early_took_the_time_of_its_steps() -> None:
    run = run_of(PARITY, "mamba", steps=1000, stop=Stop(after_convergence=100, every=50))
    speeds = Speeds(Pool(), "this device", "gpu", [speed_record(run, (1, 10.0))])
    for status, seconds in ((RunStatus("finished", 200), 2.0), (RunStatus("missing", 200), 10.0)):
        entry = Planned(run, (), status, TimeEstimate(None, "unknown"))
        (entry,) = stacked([entry], NOWHERE, speeds)
        assert of_steps(entry.estimate) == (seconds, "measured", 1)
        assert entry.share_done == (1.0 if status.word == "finished" else 0.2)
        steps = status.step if status.word == "finished" else run.steps
        assert entry.training_flops == run.training_flops(steps)
        assert entry.training_flops_full_length == run.training_flops_full_length(steps)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=12))
def test_the_stack_with_most_left_comes_first_and_stays_together(runs: list[tuple[int, int]]) -> None:
    status = RunStatus("missing")
    entries = [
        Planned(FIRST[0], (), status, TimeEstimate(seconds, "measured"), stack) for stack, seconds in runs
    ]
    ordered = longest_first(entries, "gpu")
    assert Counter(map(id, ordered)) == Counter(map(id, entries))
    stacks = [list(group) for _, group in groupby(ordered, key=lambda entry: entry.stack)]
    assert len(stacks) == len({stack for stack, _ in runs})
    sums = [sum(entry.estimate.seconds or 0.0 for entry in stack) for stack in stacks]
    assert sums == sorted(sums, reverse=True)
    places = {id(entry): place for place, entry in enumerate(entries)}
    for stack in stacks:
        assert [places[id(entry)] for entry in stack] == sorted(places[id(entry)] for entry in stack)


def test_a_plan_is_printed_and_exported_with_what_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cli.plan.local_device", lambda: ("this device", "cpu"))
    suite = ROOT / "suites/quick.yaml"
    runs = suites.load(suite).runs
    show_plan(SuiteChoice.of(suite, results=tmp_path), as_json=True)
    exported = json.loads(capsys.readouterr().out)
    assert {(run["estimated_hours"], run["estimate"]) for run in exported["runs"]} == {(None, "unknown")}
    show_plan(SuiteChoice.of(suite, results=tmp_path), as_json=False)
    printed = capsys.readouterr().out
    assert f"bench speed {suite}" in " ".join(printed.split()), "a long path may be wrapped"
    totals = printed[printed.index("By experiment") :]
    assert re.search(rf"all, each run once +{len(runs)} +· +· +· +{len(runs)} ", totals), "no time is known"
    records.store(
        records.path_of(tmp_path, "this device"), replace(speed_record(runs[0], (1, 3.6)), device_kind="cpu")
    )
    show_plan(SuiteChoice.of(suite, results=tmp_path), as_json=True)
    first, *others = json.loads(capsys.readouterr().out)["runs"]
    assert (first["estimated_hours"], first["estimate"], first["stack"]) == (
        pytest.approx((runs[0].steps + runs[0].evaluation_flops() / flops_per_step(runs[0])) / 1e6),
        "measured",
        1,
    )
    assert any(run["estimated_hours"] is None for run in others)
    show_plan(SuiteChoice.of(suite, results=tmp_path), as_json=False)
    printed = capsys.readouterr().out
    unknown = sum(run["estimated_hours"] is None for run in others)
    assert re.search(rf"all, each run once +{len(runs)} +· +· +\S+ (s|min) +{unknown} ", printed)
    write_pool(tmp_path, runs[:1], outcome="diverged")  # at once: no time is done
    show_plan(SuiteChoice.of(suite, results=tmp_path), as_json=False)
    printed = capsys.readouterr().out
    assert re.search(rf"all, each run once +{len(runs)} +· +1 +· +\S+ (s|min) +{unknown} ", printed)
    records.path_of(tmp_path, "this device").write_text("{}")
    show_plan(SuiteChoice.of(suite, results=tmp_path), as_json=True)
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert "this-device.json: is not a record of bench speed; set aside" in problem


def test_help_lists_the_fields_that_filters_take() -> None:
    listed = arguments.Filter.__metadata__[0].help.partition("Fields: ")[2].strip(".").split(", ")
    assert set(listed) == set(FILTER_FIELDS)
    assert set(withdraw._FIELDS) - {"scan"} <= set(re.findall(r"[a-z_]+", withdraw.FIELDS_HELP))
