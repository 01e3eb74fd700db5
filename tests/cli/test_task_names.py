"""Tasks of one name are told apart in lists of runs."""

from __future__ import annotations

from synthetic import run_of, task_named

from bench.cli.task_names import task_names

LINEAR, PARITY = task_named("linear_regression"), task_named("sparse_parity")


def test_tasks_that_share_a_name_are_told_apart_by_what_differs() -> None:
    other = task_named("sparse_parity", sparsity=3)
    runs = [run_of(PARITY), run_of(other), run_of(LINEAR), run_of(PARITY, evaluation_prompts=64)]
    names = task_names(runs)
    assert [name.name for name in names.values()] == [
        "sparse_parity+sparsity=2+evaluation_prompts=1280",
        "sparse_parity+sparsity=3+evaluation_prompts=1280",
        "linear_regression",
        "sparse_parity+sparsity=2+evaluation_prompts=64",
    ]


def test_a_task_is_named_by_as_few_settings_as_tell_it_apart_and_the_others_are_listed() -> None:
    longer = {"points": {"start": 4, "increment": 4, "every": 250}}
    runs = [
        run_of(task_named("word_problem", group="Z5")),
        run_of(task_named("word_problem", group="Z5", n_points=64, curriculum=longer)),
        run_of(task_named("word_problem", n_points=64)),
        run_of(task_named("linear_regression", curriculum=None, n_dims=5)),
    ]
    names = task_names(runs)
    assert [tuple(name) for name in names.values()] == [
        ("word_problem+group=Z5+n_points=16", ()),
        (
            "word_problem+group=Z5+n_points=64",
            ("curriculum.points.start=4", "curriculum.points.increment=4", "curriculum.points.every=250"),
        ),
        ("word_problem+group=S3+n_points=64", ()),
        ("linear_regression", ("curriculum=None", "n_dims=5")),
    ]
