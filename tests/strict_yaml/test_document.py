"""YAML files: what is read from them, what is refused, and the place of every complaint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from bench.errors import InvalidFile
from bench.strict_yaml.document import check, lines, read, validate


def write(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    """What is wrong with a file, without its folder."""
    path = write(folder, text)
    with pytest.raises(InvalidFile) as caught:
        read(path)
    assert caught.value.exit_code == 3
    return [problem.replace(str(path), "x.yaml") for problem in caught.value.problems]


# --- plain values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("5e5", 500_000.0),
        ("1E-3", 1e-3),
        (".5", 0.5),
        ("1.", 1.0),
        ("-2.5e-3", -2.5e-3),
        ("1_000.5", 1000.5),
        ("500_000", 500_000),
        ("0", 0),
        ("-3", -3),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("off", "off"),
        ("0123", "0123"),
        ("1:30", "1:30"),
        ("2024-02-04", "2024-02-04"),
        ("0x10", "0x10"),
        ("nan", "nan"),
        ("1_", "1_"),
        ("e5", "e5"),
        ('"5"', "5"),
        ("!!str 5", "5"),
    ],
)
def test_plain_text_is_taken_for_what_people_mean(tmp_path: Path, text: str, value: Any) -> None:
    read_back = read(write(tmp_path, f"key: {text}\n")).data["key"]
    assert read_back == value
    assert type(read_back) is type(value)


@given(number=st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_python_writes_is_read_as_itself(
    tmp_path_factory: pytest.TempPathFactory, number: float
) -> None:
    assert read(write(tmp_path_factory.getbasetemp(), f"- {number!r}")).data == [number]


def test_a_value_may_be_named_once_and_used_twice(tmp_path: Path) -> None:
    document = read(write(tmp_path, "a: &rates [1, 2]\nb: *rates\n"))
    assert document.data == {"a": [1, 2], "b": [1, 2]}


# --- what is refused ----------------------------------------------------------------------------


def test_every_duplicate_key_is_reported_with_the_line_of_the_first(tmp_path: Path) -> None:
    assert problems(tmp_path, "a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 4\na: 5\n") == [
        "x.yaml:5:3: duplicate key 'c' (first on line 3)",
        "x.yaml:6:1: duplicate key 'a' (first on line 1)",
        "x.yaml:7:1: duplicate key 'a' (first on line 1)",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: .nan", "x.yaml:1:4: .nan is not a finite number"),
        ("a: [1, -.inf]", "x.yaml:1:8: -.inf is not a finite number"),
        ("a: 1e999", "x.yaml:1:4: 1e999 is not a finite number"),
        ("5: a", "x.yaml:1:1: key 5 is not text, put it in quotes"),
        ("true: a", "x.yaml:1:1: key true is not text, put it in quotes"),
        ("? [a]\n: b", "x.yaml:1:3: this key is not text, put it in quotes"),
        ("a: !mine 3", "x.yaml:1:4: the tag !mine is not supported here, leave it out"),
        ("a: !!timestamp 2024-02-04", "x.yaml:1:4: the tag !!timestamp is not supported here, leave it out"),
        ("a: !!python/name:os.system", "x.yaml:1:4: the tag !!python/name:os.system is not supported here"),
        ("a: !!int abc", "x.yaml:1:4: 'abc' is not a value of type int"),
        ("a: &it [*it]", "x.yaml:1:4: an alias refers to the value that contains it"),
        ("<<: {a: 1}", "x.yaml:1:1: merge keys (<<) are not supported, write the keys out"),
        (
            "a: [1\nb: 2",
            "x.yaml:1:4: not valid YAML: a list is not closed, or lacks a comma: expected ',' or ']'",
        ),
        ("a: 1\n b: 2", "x.yaml:2:3: not valid YAML: a second ': ' in one value"),
        ("a:\n\tb: 1", "x.yaml:2:1: not valid YAML: a tab cannot indent YAML, use spaces"),
        ("a: 1\nb: \x01", "x.yaml:2:4: not valid YAML: control character #x01"),
        ("a: 1\n---\nb: 2", "x.yaml:2:1: not valid YAML: a file has one document"),
        ("a: {b: 1", "x.yaml:1:4: not valid YAML: a mapping is not closed, or lacks a comma"),
        ("a:\n  b: 1\n c: 2", "x.yaml:3:2: not valid YAML: this does not continue the lines above"),
        ("a: 1\nb:2\nc: 3", "x.yaml:2:1: not valid YAML: a key without ': ', a colon and a space"),
        ("a: 'b\nc: 3", "x.yaml:1:4: not valid YAML: a quotation mark is not closed"),
        ("a: @b", "x.yaml:1:4: not valid YAML: no value begins with this character: put text in quotes"),
        ("a: *csv", "x.yaml:1:4: not valid YAML: an alias (*) of a name that no anchor (&) gives"),
        ("a: *.csv", "x.yaml:1:4: not valid YAML: an alias (*) without a name"),
        ("a: [0,,1]", "x.yaml:1:7: not valid YAML: a value is missing before this place"),
        ("[" * 3000, "x.yaml:1:101: is nested too deeply, more than 100 levels"),
    ],
)
def test_what_is_refused_is_named_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    (only,) = problems(tmp_path, text)
    assert only.startswith(problem)


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: \xff\n")
    with pytest.raises(InvalidFile, match=r"x\.yaml:1:4: is not UTF-8 text \(byte 4\)"):
        read(path)


def test_a_missing_file_names_its_nearest_neighbour(tmp_path: Path) -> None:
    (tmp_path / "paper.yaml").write_text("a: 1")
    with pytest.raises(
        InvalidFile, match=rf"papr\.yaml: no such file, did you mean '{tmp_path}/paper\.yaml'\?"
    ):
        read(tmp_path / "papr.yaml")


def test_a_link_to_nowhere_or_to_itself_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "nowhere.yaml").symlink_to("absent.yaml")
    (tmp_path / "itself.yaml").symlink_to("itself.yaml")
    with pytest.raises(InvalidFile, match=r"nowhere\.yaml: is a link that leads nowhere"):
        read(tmp_path / "nowhere.yaml")
    with pytest.raises(InvalidFile, match=r"itself\.yaml: cannot be read: Too many levels of symbolic links"):
        read(tmp_path / "itself.yaml")


def test_a_file_that_never_ends_is_not_read_to_its_end() -> None:
    with pytest.raises(InvalidFile, match=r"/dev/zero: is larger than 16 MiB"):
        read(Path("/dev/zero"))


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match="is a folder, expected a YAML file"):
        read(tmp_path)


# --- places -------------------------------------------------------------------------------------


def test_places_are_those_of_values_keys_and_nearest_ancestors(tmp_path: Path) -> None:
    path = write(tmp_path, "name: x\nitems:\n  - {a: 1, b: [2, 3]}\n  - 4\nonly: {deep: 5}\n")
    document = read(path)
    assert document.where(("items", 0, "b", 1)) == f"{path}:3:19"
    assert document.where(("items", 0, "b"), key=True) == f"{path}:3:12"
    assert document.where(("items", 1)) == f"{path}:4:5"
    assert document.where(("items", 0, "absent", "below")) == f"{path}:3:5"
    assert document.where(("items", 7, "a")) == f"{path}:3:3"
    assert document.where(()) == f"{path}:1:1"
    assert document.where(("only", 0, "deep")) == f"{path}:5:14"  # one value stands for a list of one


# --- models -------------------------------------------------------------------------------------


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Plain(Strict):
    name: Literal["plain"] = "plain"
    width: PositiveInt = 1


class Fancy(Strict):
    name: Literal["fancy"] = "fancy"
    depth: PositiveInt = 1


class Inner(Strict):
    d_model: int
    rates: tuple[float, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _as_given(cls, values: Any) -> Any:
        return values

    @model_validator(mode="after")
    def _rates_rise(self) -> Inner:
        if list(self.rates) != sorted(self.rates):
            raise ValueError("rates must rise")
        return self


class Outer(Strict):
    steps: PositiveInt
    rate: float = 0.1
    flag: bool = False
    text: str = ""
    mode: Literal["fast", "slow"] = "fast"
    inner: Inner | None = None
    several: list[int] = Field(default=[], min_length=1)
    pair: tuple[int, ...] = Field(default=(1, 2), min_length=2)
    kind: Annotated[Plain | Fancy, Field(discriminator="name")] = Plain()
    kinds: dict[str, Annotated[Plain | Fancy, Field(discriminator="name")]] = {}
    either: int | str = 0
    share: float = Field(default=0.5, ge=0.25, le=2**40)
    even: int = Field(default=2, multiple_of=2)
    pair: list[int] = Field(default=[1, 2], min_length=2, max_length=2)


def complaints(folder: Path, text: str) -> list[str]:
    path = write(folder, text)
    with pytest.raises(InvalidFile) as caught:
        validate(read(path), Outer)
    assert not any("Input" in problem or "Extra" in problem for problem in caught.value.problems)
    return [problem.replace(str(path), "x.yaml") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rate: 1", "x.yaml:1:1: missing key 'steps'"),
        ("steps: 1\ninner: {rates: []}", "x.yaml:2:8: missing key 'd_model'"),
        ("steps: 1\nstpes: 2", "x.yaml:2:1: unknown key 'stpes', did you mean 'steps'?"),
        (
            "steps: 1\ninner: {d_model: 1, d_modle: 2}",
            "x.yaml:2:21: unknown key 'd_modle', did you mean 'd_model'?",
        ),
        ("steps: 1\nrate: fast", "x.yaml:2:7: rate: expected a number, got 'fast'"),
        ("steps: 1\nrate: '1'", "x.yaml:2:7: rate: expected a number, got '1': write 1 without quotes"),
        (
            "steps: 1\nrate: '1_0.5'",
            "x.yaml:2:7: rate: expected a number, got '1_0.5': write 1_0.5 without quotes",
        ),
        ("steps: 1\nrate: '.inf'", "x.yaml:2:7: rate: expected a number, got '.inf'"),
        (
            "steps: 1\nrate: '\u0661'",
            "x.yaml:2:7: rate: expected a number, got '\u0661'",
        ),  # no digit of YAML's
        ("steps: true", "x.yaml:1:8: steps: expected a whole number, got true"),
        ("steps: 1.5", "x.yaml:1:8: steps: expected a whole number, got 1.5"),
        ("steps: 0", "x.yaml:1:8: steps: must be greater than 0, got 0"),
        ("steps:", "x.yaml:1:7: steps: expected a whole number, got null"),
        ("steps: 1\nflag: 1", "x.yaml:2:7: flag: expected true or false, got 1"),
        ("steps: 1\ntext: [a]", "x.yaml:2:7: text: expected text, got a list"),
        ("steps: 1\nmode: fsat", "x.yaml:2:7: mode: unknown value 'fsat', did you mean 'fast'?"),
        ("steps: 1\nmode: 3", "x.yaml:2:7: mode: expected 'fast' or 'slow', got 3"),
        ("steps: 1\ninner: 3", "x.yaml:2:8: inner: expected a mapping (keys: d_model, rates), got 3"),
        ("steps: 1\ninner: {d_model: 1, rates: [2, 1]}", "x.yaml:2:28: rates must rise"),
        ("steps: 1\nseveral: []", "x.yaml:2:10: several: must not be empty"),
        ("steps: 1\npair: [x, 2]", "x.yaml:2:8: pair: expected a whole number, got 'x'"),
        ("steps: 1\nseveral: 3", "x.yaml:2:10: several: expected a list, got 3"),
        ("steps: 1\nseveral: [1, x]", "x.yaml:2:14: several: expected a whole number, got 'x'"),
        ("steps: 1\nkind: {name: fnacy}", "x.yaml:2:14: unknown kind 'fnacy', did you mean 'fancy'?"),
        ("steps: 1\nkind: {depth: 1}", "x.yaml:2:7: missing key 'name'"),
        (
            "steps: 1\nkind: {name: fancy, dept: 2}",
            "x.yaml:2:21: unknown key 'dept', did you mean 'depth'?",
        ),
        (
            "steps: 1\nkinds: {a: {name: fancy, depth: -2}}",
            "x.yaml:2:33: depth: must be greater than 0, got -2",
        ),
        (
            "steps: 1\nkinds: {a: {name: plain, widht: 2}}",
            "x.yaml:2:26: unknown key 'widht', did you mean 'width'?",
        ),
        ("steps: 1\neither: [1]", "x.yaml:2:9: either: expected a whole number or text, got a list"),
        ("- 1", "x.yaml:1:1: expected a mapping, got a list"),
        ("# nothing\n", "x.yaml:1:1: is empty, expected one or more of the keys steps, rate, "),
        (
            "steps: 1\nkind:",
            "x.yaml:2:6: kind: is empty, expected one or more of the keys name, width, depth",
        ),
        (
            "steps: 1\nkinds: {a: }",
            "x.yaml:2:11: a: is empty, expected one or more of the keys name, width, depth",
        ),
        ("steps: 1\nkinds:", "x.yaml:2:7: kinds: expected a mapping, got null"),
        ("steps: 20k", "x.yaml:1:8: steps: expected a whole number, got '20k': write 20_000"),
        ("steps: 3M", "x.yaml:1:8: steps: expected a whole number, got '3M': write 3_000_000"),
        ("steps: 20,000", "x.yaml:1:8: steps: expected a whole number, got '20,000': write 20_000"),
        ("steps: '1.5'", "x.yaml:1:8: steps: expected a whole number, got '1.5'"),
        ("steps: 1\nshare: 0.2", "x.yaml:2:8: share: must be at least 0.25, got 0.2"),
        (
            "steps: 1\nshare: 2_000_000_000_000",
            "x.yaml:2:8: share: must be at most 1099511627776, got 2000000000000",
        ),
        ("steps: 1\neven: 3", "x.yaml:2:7: even: must be a multiple of 2, got 3"),
        ("steps: 1\npair: [1]", "x.yaml:2:7: pair: needs at least 2 values, got 1"),
        ("steps: 1\npair: [1, 2, 3]", "x.yaml:2:7: pair: takes at most 2 values, got 3"),
    ],
)
def test_a_complaint_says_where_what_and_what_would_be_right(tmp_path: Path, text: str, problem: str) -> None:
    (only,) = complaints(tmp_path, text)
    assert only == problem or (problem.endswith(", ") and only.startswith(problem))


def test_all_complaints_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "rate: fast\nflagg: true\ninner: {rates: [x]}\nsteps: -1\n"
    places = [problem.split(" ")[0] for problem in complaints(tmp_path, text)]
    assert places == ["x.yaml:1:7:", "x.yaml:2:1:", "x.yaml:3:8:", "x.yaml:3:17:", "x.yaml:4:8:"]


def test_what_is_right_becomes_the_model(tmp_path: Path) -> None:
    text = "steps: 5e5\nrate: 3\ninner: {d_model: 2, rates: [1, 2.5]}\nkind: {name: fancy, depth: 4}\n"
    outer = validate(read(write(tmp_path, text)), Outer)
    assert outer == Outer(
        steps=500_000, rate=3.0, inner=Inner(d_model=2, rates=(1.0, 2.5)), kind=Fancy(depth=4)
    )


def test_a_part_of_a_document_is_checked_at_its_own_place(tmp_path: Path) -> None:
    path = write(tmp_path, "claims:\n  a: {d_model: x}\n  b: {d_model: 1}\n")
    document = read(path)
    assert check(document, Inner, ("claims", "b")) == Inner(d_model=1)
    found = check(document, Inner, ("claims", "a"))
    assert isinstance(found, list)
    assert lines(document, found) == [f"{path}:2:16: d_model: expected a whole number, got 'x'"]


def test_what_was_added_to_a_value_points_at_the_value(tmp_path: Path) -> None:
    path = write(tmp_path, "claims:\n  a: {}\n")
    document = read(path)
    found = check(document, Inner, ("claims", "a"), data={"d_model": "x"})
    assert isinstance(found, list)
    assert lines(document, found) == [f"{path}:2:6: d_model: expected a whole number, got 'x'"]


def test_a_problem_is_one_line_whatever_the_value_contains(tmp_path: Path) -> None:
    text = 'rate: "a\\nb"\n"fl\\u2028ag": true\nsteps: "é\\u2028\\u00a0×"\n'
    assert complaints(tmp_path, text) == [
        r"x.yaml:1:7: rate: expected a number, got 'a\nb'",
        r"x.yaml:2:1: unknown key 'fl\u2028ag', did you mean 'flag'?",
        "x.yaml:3:8: steps: expected a whole number, got 'é\\u2028\u00a0×'",
    ]


@pytest.mark.parametrize(
    ("text", "place", "shown"),
    [
        (r'flag: "\ud800"', "1:7", r"\ud800"),
        (r'flag: "a\0b"', "1:7", r"\u0000"),
        (r'"fl\e[2Jag": true', "1:1", r"\u001b"),
        (r'more: [x, {"\x85": 1}]', "1:12", r"\u0085"),
    ],
)
def test_a_character_that_no_text_needs_is_refused_in_its_place(
    tmp_path: Path, text: str, place: str, shown: str
) -> None:
    """A half of a surrogate pair cannot be written as UTF-8; a terminal obeys control characters."""
    (problem,) = complaints(tmp_path, text)
    assert problem.startswith(f"x.yaml:{place}: text contains {shown}, which is not a printable character")
