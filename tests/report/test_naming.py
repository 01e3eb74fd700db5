"""Names of tasks in a report: they tell apart what differs, in words."""

from __future__ import annotations

from typing import Any

from synthetic import run_of, task_named

from bench.report.data.frame import of_runs, results_frame
from bench.results import Pool
from bench.tasks import Task


def names(*tasks: Task) -> list[str]:
    runs = [run_of(task, "mamba", 2, 64) for task in tasks]
    return list(dict.fromkeys(results_frame(runs, Pool(), {})["task"]))


def test_tasks_name_the_settings_in_which_they_differ() -> None:
    growing = {"points": {"start": 4, "increment": 4, "every": 250}}
    plain = task_named("word_problem", group="Z2")
    assert names(plain, task_named("word_problem", group="Z2", curriculum=growing)) == [
        "Word problem",
        "Word problem, prompts grow every 250 steps",
    ]
    assert names(plain, task_named("word_problem", group="Z2", alphabet="generators")) == [
        "Word problem, all elements",
        "Word problem, generators only",
    ]


def test_a_single_task_has_its_name_alone() -> None:
    assert names(task_named("word_problem", group="A5", alphabet="generators")) == ["Word problem"]


def test_the_group_stands_before_what_else_tells_word_problems_apart() -> None:
    tasks = [
        task_named("word_problem", group=group, alphabet=alphabet)
        for group in ("A5", "S3")
        for alphabet in ("elements", "generators")
    ]
    assert names(*tasks) == [
        "Word problem, group A5, all elements",
        "Word problem, group A5, generators only",
        "Word problem, group S3, all elements",
        "Word problem, group S3, generators only",
    ]


def test_a_task_has_one_name_in_all_experiments_of_a_suite() -> None:
    tasks = [task_named("word_problem", group=group) for group in ("Z2", "A5")]
    runs = [run_of(task, "mamba", 2, 64) for task in tasks]
    frame = results_frame(runs, Pool(), {})
    alone = of_runs(frame, runs[:1])
    assert (list(alone["task"]), list(alone["short_task"])) == (["Word problem, group Z2"], ["Word problem"])


def test_an_architecture_has_one_name_in_all_experiments_of_a_suite() -> None:
    plain = run_of(task_named(), "gated_deltanet", 1, 64)
    other = plain.architecture.with_options({"negative_eigenvalues": True})
    runs = [plain, plain.model_copy(update={"architecture": other})]
    frame = results_frame(runs, Pool(), {})
    assert list(of_runs(frame, runs[1:])["series"]) == ["Gated DeltaNet, β < 2"]


def test_dropout_is_named_only_where_it_tells_variants_of_one_task_apart() -> None:
    parity, linear = task_named("sparse_parity"), task_named()
    dropout = {"attention_dropout": 0.1}

    def series(*variants: tuple[Task, dict[str, Any]]) -> list[str]:
        runs = [run_of(task, "transformer", 2, 64) for task, _ in variants]
        runs = [
            run.model_copy(update={"architecture": run.architecture.with_options(options)})
            for run, (_, options) in zip(runs, variants, strict=True)
        ]
        return list(results_frame(runs, Pool(), {})["series"])

    assert series((parity, dropout), (linear, {})) == ["Transformer", "Transformer"]
    assert series((parity, dropout), (parity, {})) == ["Transformer, attention dropout 0.1", "Transformer"]
    assert series((parity, dropout), (parity, {"causal": False})) == [
        "Transformer",
        "Transformer, without causal mask",
    ]


def test_options_of_architectures_are_in_words_of_the_field() -> None:
    plain = run_of(task_named(), "gated_deltanet", 1, 64)
    options: list[dict[str, Any]] = [
        {"householders": 2}, {"negative_eigenvalues": True}, {"convolution": 1}, {"convolution": 2},
        {"key_dim": 16},
    ]  # fmt: skip
    runs = [
        plain.model_copy(update={"architecture": plain.architecture.with_options(chosen)})
        for chosen in options
    ]
    assert list(results_frame(runs, Pool(), {})["series"]) == [
        "Gated DeltaNet, 2 Householder products",
        "Gated DeltaNet, β < 2",
        "Gated DeltaNet, without convolution",
        "Gated DeltaNet, convolution of width 2",
        "Gated DeltaNet, key dimension 16",
    ]
