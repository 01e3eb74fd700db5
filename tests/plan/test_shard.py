"""`--shard`: every run is in exactly one share, shares are stable, and stacks stay whole."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import ROOT, as_json, bench
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import run_of, task_named

from bench import suite as suites
from bench.dispatch.stack_sizes import advised_members
from bench.errors import UserError
from bench.plan.shard import Shard
from bench.run import Run
from bench.stack import form_stacks

LINEAR, SPARSE = task_named(n_points=5), task_named("sparse_linear_regression", n_points=5)
RUNS = st.builds(
    run_of,
    st.sampled_from([LINEAR, SPARSE]),
    st.sampled_from(["mamba", "transformer", "s4"]),
    layers=st.integers(1, 2),
    width=st.sampled_from([16, 256]),
    learning_rate=st.sampled_from([1e-4, 1e-3, 1e-2]),
    seed=st.integers(0, 12),
)


@settings(max_examples=60)
@given(st.lists(RUNS, max_size=60), st.integers(1, 9), st.randoms(use_true_random=False))
def test_every_run_is_in_exactly_one_share_whatever_the_order(
    runs: list[Run], count: int, chance: object
) -> None:
    shares = [Shard(index, count).ids(runs) for index in range(1, count + 1)]
    assert sum(map(len, shares)) == len({run.id for run in runs})
    assert set().union(*shares) == {run.id for run in runs}
    shuffled = list(runs)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert [Shard(index, count).ids(shuffled) for index in range(1, count + 1)] == shares


@settings(max_examples=60)
@given(st.lists(RUNS, max_size=60, unique_by=lambda run: run.id), st.integers(1, 9))
def test_shares_form_as_many_stacks_as_the_whole(runs: list[Run], count: int) -> None:
    def stacks(some: list[Run]) -> int:
        return len(form_stacks(some, lambda run: advised_members(run, "gpu", None, None)))

    shares = [Shard(index, count).ids(runs) for index in range(1, count + 1)]
    parts = sum(stacks([run for run in runs if run.id in share]) for share in shares)
    assert parts == stacks(runs), "no stack was cut"


def test_shares_of_the_papers_grid_take_about_as_many_flops() -> None:
    runs = suites.load(ROOT / "suites/paper.yaml").runs
    flops = {run.id: run.training_flops_full_length() for run in runs}
    loads = [sum(flops[run_id] for run_id in Shard(index, 4).ids(runs)) for index in (1, 2, 3, 4)]
    assert sum(loads) == sum(flops.values())
    assert max(loads) < 1.05 * min(loads)


@pytest.mark.parametrize(
    ("text", "shard"), [("1/4", Shard(1, 4)), ("4/4", Shard(4, 4)), (" 1/1 ", Shard(1, 1))]
)
def test_a_share_is_written_with_its_number_from_one(text: str, shard: Shard) -> None:
    assert Shard.of(text) == shard
    assert str(shard) == text.strip()


def test_a_share_has_whole_streams_of_prompts_whatever_the_order() -> None:
    """Of 32 runs with four seeds, two stacks of 16 have two seeds each."""
    rates = [k * 1e-4 for k in range(1, 9)]
    runs = [run_of(LINEAR, width=16, learning_rate=rate, seed=seed) for rate in rates for seed in range(4)]
    assert advised_members(runs[0], "gpu", None, None) == 16
    first, second = (Shard(index, 2).ids(runs) for index in (1, 2))
    assert (len(first), len(second)) == (16, 16)
    assert len({run.seed for run in runs if run.id in first}) == 2
    assert [Shard(index, 2).ids(runs[::-1]) for index in (1, 2)] == [first, second]


@pytest.mark.parametrize("text", ["", "2", "2/", "0/4", "5/4", "1/0", "-1/4", "a/b", "1/4/2", "1.0/2"])
def test_a_share_that_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"--shard .*: (expected|there is no)"):
        Shard.of(text)


@pytest.mark.slow
def test_shares_are_planned_and_trained_apart(tmp_path: Path) -> None:
    tiny = ["quick", "--set", "steps=2", "--set", "evaluation_prompts=4", "--set", "architectures=mamba,s4"]
    whole = [run["id"] for run in as_json(bench("plan", *tiny, "--json", cwd=tmp_path))["runs"]]
    shares = [
        [
            run["id"]
            for run in as_json(bench("plan", *tiny, "--shard", f"{index}/2", "--json", cwd=tmp_path))["runs"]
        ]
        for index in (1, 2)
    ]
    assert sorted(shares[0] + shares[1]) == sorted(whole)
    done = bench("run", *tiny, "--shard", "2/2", "--workers", 1, cwd=tmp_path)
    assert f"Done: {len(shares[1])} finished." in done.stdout
    states = {
        run["id"]: run["state"] for run in as_json(bench("plan", *tiny, "--json", cwd=tmp_path))["runs"]
    }
    assert {key for key, state in states.items() if state == "finished"} == set(shares[1])
    for index, state in ((1, "missing"), (2, "finished")):
        status = as_json(bench("status", *tiny, "--shard", f"{index}/2", "--json", cwd=tmp_path))
        assert {word: count for word, count in status["total"]["states"].items() if count} == {
            state: len(shares[index - 1])
        }
