"""What no run could use is refused when it is planned: bounds, names, aliases, filters."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.check import claims as claims_of
from bench.errors import InvalidFile, UserError
from bench.models.architectures import ARCHITECTURES, canonical
from bench.names import MOST_BYTES, MOST_LETTERS
from bench.paper.exhibits import EXHIBITS, unknown
from bench.plan.planned import select
from bench.run import Run
from bench.strict_yaml.document import read
from bench.suite import load
from bench.suite.format import Point, Settings

STATED = {
    "tasks": "linear_regression",
    "architectures": "mamba",
    "sizes": "{layers: 2, width: 32}",
    "learning_rates": "1e-3",
    "steps": "100",
}


def write(folder: Path, *lines: str, name: str = "x", experiment: str = "a") -> Path:
    """A suite of one experiment: `lines` from line 4 on, then what they leave out."""
    replaced = {line.split(":")[0] for line in lines}
    body = [*lines, *(f"{key}: {value}" for key, value in STATED.items() if key not in replaced)]
    text = f"name: {name}\nexperiments:\n  {experiment}:\n" + "".join(f"    {line}\n" for line in body)
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(InvalidFile) as caught:
        load(path)
    return [problem.replace(f"{path.parent}/", "") for problem in caught.value.problems]


# --- bounds -------------------------------------------------------------------------------------


def bounds(model: Any, field: str) -> dict[str, Any]:
    """The bounds of a field's numbers in its JSON Schema, of a list's members too."""
    found: dict[str, Any] = {}

    def walk(schema: Any) -> None:
        if isinstance(schema, dict):
            found.update({key: schema[key] for key in schema if key.lower().endswith(("minimum", "maximum"))})
            for key, value in schema.items():
                if key != "$defs":
                    walk(value)
        if isinstance(schema, list):
            for value in schema:
                walk(value)

    walk(model.model_json_schema()["properties"][field])
    return found


@pytest.mark.parametrize("model", [Settings, Point])
def test_a_suites_numbers_have_the_bounds_of_the_runs(model: Any) -> None:
    named = {"learning_rates": "learning_rate", "seeds": "seed"}
    shared = [field for field in model.model_fields if named.get(field, field) in Run.model_fields]
    assert len(shared) >= 6
    for field in shared:
        assert bounds(model, field) == bounds(Run, named.get(field, field)), field


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("evaluation_prompts: 1", "x.yaml:4:25: evaluation_prompts: must be at least 2, got 1"),
        (f"seeds: {2**64}", f"x.yaml:4:12: '{2**64}' needs more than 64 bits"),
        (f"batch_size: {2**63}", f"x.yaml:4:17: batch_size: must be at most 1000000000, got {2**63}"),
        ("sizes: {layers: 1_000_000, width: 32}", "x.yaml:4:21: layers: must be at most 100000, got 1000000"),
        ("tasks: {name: linear_regression, n_points: 10_000_000}", "x.yaml:4:48: n_points is at most 100000"),
        ("tasks: {name: linear_regression, n_points: 1, zero_shot: left_out}", "left_out leaves nothing"),
        (
            "tasks: {name: linear_regression, zero_shot: left_out, "
            "curriculum: {dims: {start: 5, increment: 1}, points: {start: 1, increment: 1}}}",
            "left_out leaves nothing",
        ),
        ("optimizer: adamw", "x.yaml:4:16: optimizer: its warm-up of 50,000 steps"),
        ("optimizer: {name: adamw, warmup_steps: 100}", "write {name: adamw, warmup_steps: 10}"),
        (
            "rebuilds: Figure 99",
            "x.yaml:4:15: rebuilds: there is no 'Figure 99' to draw, did you mean 'Figure 9'?",
        ),
        ("rebuilds: figure 2", "x.yaml:4:15: rebuilds: there is no 'figure 2' to draw"),
    ],
)
def test_what_no_run_could_use_is_refused_in_its_place(tmp_path: Path, line: str, problem: str) -> None:
    (found,) = problems(write(tmp_path, line))
    assert problem in found


def test_the_largest_seed_is_a_seed(tmp_path: Path) -> None:
    (run,) = load(write(tmp_path, f"seeds: {2**64 - 1}")).runs
    assert run.seed == 2**64 - 1


def test_a_warm_up_that_the_run_outlasts_is_none_of_our_business(tmp_path: Path) -> None:
    assert load(write(tmp_path, "optimizer: {name: adamw, warmup_steps: 99}")).runs


def test_everything_a_report_draws_can_be_rebuilt() -> None:
    for exhibit in EXHIBITS:
        assert unknown(exhibit) is None
    assert unknown("Figures 9 and 10, left") is None
    assert unknown("Section 4.3, parity") is None
    assert unknown("fig. 5") == "fig. 5"
    assert unknown("Figure 2, no_such_figure") == "no_such_figure"


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (["steps: 50_000_000", "checkpoints: {every: 1}"], "write every: 5000 or more"),
        (
            [f"{key}: [{', '.join(map(str, range(1, 200)))}]" for key in ("seeds", "clip", "learning_rates")],
            "runs",
        ),
    ],
)
def test_a_few_lines_cannot_ask_for_more_than_can_be_planned(
    tmp_path: Path, lines: list[str], problem: str
) -> None:
    began = time.process_time()
    (found,) = problems(write(tmp_path, *lines))
    assert problem in found
    assert time.process_time() - began < 20


# --- aliases ------------------------------------------------------------------------------------


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("levels", [6, 9, 30])
def test_aliases_of_aliases_are_refused_where_they_are_too_many(tmp_path: Path, levels: int) -> None:
    path, began = tmp_path / "laughs.yaml", time.process_time()
    path.write_text(laughs(levels), encoding="utf-8")
    for reader in (load, lambda path: claims_of.load(path, load(write(tmp_path)))):
        with pytest.raises(InvalidFile, match=r"laughs\.yaml:6:\d+: aliases stand for more than"):
            reader(path)
    assert time.process_time() - began < 10


def test_aliases_that_people_write_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("a: &a [1, 2]\n" + "".join(f"b{n}: *a\n" for n in range(200)), encoding="utf-8")
    data = read(path).data
    assert data["b199"] == data["a"] == [1, 2]


# --- names --------------------------------------------------------------------------------------


LONG = "n" * (MOST_LETTERS + 1)


def test_a_name_that_is_too_long_for_a_file_is_refused(tmp_path: Path) -> None:
    assert f"at most {MOST_LETTERS}" in problems(write(tmp_path, name=LONG))[0]
    assert f"at most {MOST_LETTERS}" in problems(write(tmp_path, experiment=LONG))[0]
    suite = load(write(tmp_path))
    claim = "{statement: s, measure: {experiment: a}, bound: {at_most: 1}}"
    for name, fault in ((LONG, "at most"), ("a/b", "not made of")):
        path = tmp_path / "x.claims.yaml"
        path.write_text(f"suite: x\nclaims:\n  {name}: {claim}\n", encoding="utf-8")
        with pytest.raises(InvalidFile, match=rf"claims\.yaml:3:3: .*{fault}"):
            claims_of.load(path, suite)


def test_a_result_whose_file_name_would_be_too_long_is_refused_when_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mamba = ARCHITECTURES["mamba"]
    for letters, fits in ((MOST_BYTES - 80, True), (MOST_BYTES, False)):
        name = "m" * letters
        monkeypatch.setitem(ARCHITECTURES, name, mamba.model_copy(update={"name": name}))
        path = write(tmp_path, f"architectures: {name}")
        if fits:
            (run,) = load(path).runs
            (tmp_path / run.file_name).touch()
        else:
            assert "a file name of" in problems(path)[0]


# --- architectures with options -----------------------------------------------------------------


@pytest.mark.parametrize("word", ["s4_mamba+dropout=0.0", "s4_mamba+dropout=0", "s4_mamba+*", "s4*"])
def test_a_variant_is_excluded_by_its_name_however_it_is_written(tmp_path: Path, word: str) -> None:
    path = write(
        tmp_path,
        "architectures: [mamba, {name: s4_mamba, dropout: 0.0}]",
        f"exclude: [{{architecture: {word}}}]",
    )
    assert [run.architecture.name for run in load(path).runs] == ["mamba"]


def test_an_exclusion_that_forgets_the_options_is_told_the_name(tmp_path: Path) -> None:
    lines = "architectures: [mamba, {name: s4_mamba, dropout: 0.0}]", "exclude: [{architecture: s4_mamba}]"
    (found,) = problems(write(tmp_path, *lines))
    assert "5:15: excludes nothing" in found
    assert "s4_mamba+dropout=0.0" in found


def test_a_variant_has_one_name() -> None:
    assert canonical("s4_mamba+dropout=0") == "s4_mamba+dropout=0.0"
    assert canonical("s4_mamba+dropout=0.1") == "s4_mamba"
    assert canonical("s4_mamba+skip=ones+gate=silu") == canonical("s4_mamba+gate=silu+skip=ones")
    for word in ("mamba", "nobody+x=1", "s4_mamba+dropout=9", "s4*+dropout=0"):
        assert canonical(word) == word


# --- filters ------------------------------------------------------------------------------------


def planned(tmp_path: Path) -> list[Any]:
    path = write(
        tmp_path, "architectures: [mamba, transformer, {name: s4_mamba, dropout: 0.0}]", "seeds: [0, 1]"
    )
    return [
        SimpleNamespace(run=run, experiments=("a",), status=SimpleNamespace(word="missing"))
        for run in load(path).runs
    ]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ("architecture=mamba,transfomer", "architecture=transfomer, did you mean 'transformer'"),
        ("seed=0.4", "seed is a whole number, not 0.4"),
        ("seed=0,7", "has seed=7"),
        ("state=missing,lost", "state=lost"),
    ],
)
def test_no_part_of_a_filter_is_left_out_in_silence(tmp_path: Path, terms: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        select(planned(tmp_path), terms)


@pytest.mark.parametrize(
    ("terms", "count"),
    [
        ("architecture=mamba,s4_mamba+dropout=0", 4),
        ("architecture=s4_mamba+*", 2),
        ("state=missing,failed", 6),
        ("seed=0,1.0 architecture=mamba", 2),
    ],
)
def test_a_filter_takes_what_it_names(tmp_path: Path, terms: str, count: int) -> None:
    assert len(select(planned(tmp_path), terms)) == count
