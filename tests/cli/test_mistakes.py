"""Mistakes at a command line: words that are empty, disks that are full, widths that are none."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, bench, said
from synthetic import write_pool

from bench import suite as suites
from bench.files import check_can_write, write_atomically

SUITE = """\
name: small
experiments:
  a:
    tasks: [{name: linear_regression, n_dims: 2, n_points: 4}]
    architectures: [mamba]
    sizes: [{layers: 1, width: 16}]
    learning_rates: [1e-3]
    steps: 20
"""
CLAIMS = """\
suite: small
claims:
  a: {statement: s, measure: {experiment: a}, bound: {at_most: 1e6}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a suite, claims and a made-up result."""
    (tmp_path / "small.yaml").write_text(SUITE)
    (tmp_path / "small.claims.yaml").write_text(CLAIMS)
    write_pool(tmp_path / "results", suites.load(tmp_path / "small.yaml").runs)
    return tmp_path


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "small.yaml", "--results", ""], "--results: the value is empty"),
        (["run", "small.yaml", "--results="], "--results: the value is empty"),
        (["run", "small.yaml", "--filter", ""], "--filter: the value is empty"),
        (["run", "small.yaml", "--filter", " "], "the filter is empty, expected field=pattern"),
        (["report", "small.yaml", "--reports", ""], "--reports: the value is empty"),
        (["check", "small.yaml", "--junit="], "--junit: the value is empty"),
        (["plan", "small.yaml", "--plugin", ""], "--plugin: the value is empty"),
        (["plan", ""], "an argument is empty"),
        (["init", ""], "an argument is empty"),
        (["withdraw", "--filter", "", "--reason", "wrong"], "--filter: the value is empty"),
        (["withdraw", "--filter", " ", "--reason", "wrong"], "the filter is empty, expected field=pattern"),
    ],
)
def test_an_empty_word_is_refused_and_means_neither_here_nor_everything(
    place: Path, words: list[str], message: str
) -> None:
    before = files_in(place)
    done = bench(*words, cwd=place)
    assert said(done, 2) == ""
    assert done.stderr.startswith(f"bench: {message}")
    assert files_in(place) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "x.csv", "--describe"], "leave out x.csv"),
        (["plan", "small.yaml", "--summary", "--json"], "give only one of them"),
    ],
)
def test_an_argument_that_would_be_ignored_is_refused(place: Path, words: list[str], message: str) -> None:
    before = files_in(place)
    done = bench(*words, cwd=place)
    assert said(done, 2) == ""
    assert message in done.stderr
    assert files_in(place) == before


@pytest.mark.parametrize(
    "words", [["init", "mine"], ["check", "small.yaml", "--junit", "x.xml"], ["export", "x.csv"]]
)
def test_a_file_that_does_not_fit_on_the_disk_is_named_and_leaves_nothing(
    place: Path, words: list[str]
) -> None:
    """A limit of zero blocks on the size of files stands for a full disk: opening succeeds, writing fails."""
    before = files_in(place)
    done = subprocess.run(
        ["bash", "-c", 'ulimit -f 0; exec "$@"', "-", sys.executable, "-m", "bench", *words],
        cwd=place, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
    )  # fmt: skip
    name = "suites/mine.yaml" if words[0] == "init" else words[-1]
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"bench: {name}: ")
    assert done.stderr.endswith("File too large\n")
    assert files_in(place) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")
@pytest.mark.parametrize("words", [["plan", "small.yaml"], ["plan", "small.yaml", "--json"], ["--help"]])
def test_an_output_that_cannot_be_written_is_an_error_in_one_line(place: Path, words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words],
            cwd=place, env={"PYTHONPATH": str(ROOT)}, stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("bench: the output cannot be written: No space left on device; free")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOSPC, "space"),
        (errno.EROFS, "another folder"),
        (errno.EACCES, "permissions"),
        (errno.EIO, ""),
    ],
)
def test_an_error_of_the_file_system_names_file_cause_and_cure(number: int, cure: str) -> None:
    script = f"""
import os
import bench.cli.app
def app():
    raise OSError({number}, os.strerror({number}), "reports/x")
bench.cli.app.app = app
bench.cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 2
    start, _, text = done.stderr.strip().partition(os.strerror(number))
    assert start == "bench: reports/x: "
    assert cure in text
    assert bool(cure) == bool(text)


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for write in (lambda path: write_atomically(path, b"x"), check_can_write):
        with pytest.raises(OSError, match="Not a directory") as raised:
            write(tmp_path / "file/x.json")
        assert raised.value.filename == str(tmp_path / "file")
    assert files_in(tmp_path) == ["file"]


@pytest.mark.parametrize("width", ["0", "1", "-5", "wide", ""])
def test_a_width_that_no_terminal_has_is_ignored(place: Path, width: str) -> None:
    usual = said(bench("plan", "small.yaml", cwd=place))
    assert said(bench("plan", "small.yaml", cwd=place, COLUMNS=width)) == usual


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("SMALL.yaml", "SMALL.yaml: no such file, did you mean 'small.yaml'?"),
        ("QUICK", "QUICK: no such file, and no suite of this name ships with bench, did you mean 'quick'?"),
        ("folder/smal.yaml", "folder/smal.yaml: no such file, did you mean 'folder/small.yaml'?"),
        ("itself.yaml", "itself.yaml: cannot be read: Too many levels of symbolic links"),
        ("x" * 300, f"{'x' * 300}: cannot be read: File name too long"),
    ],
)
def test_a_suite_that_cannot_be_found_is_an_unusable_file(place: Path, word: str, message: str) -> None:
    (place / "itself.yaml").symlink_to("itself.yaml")
    (place / "folder").mkdir()
    (place / "folder/small.yaml").write_text(SUITE)
    for command in ("plan", "report"):
        done = bench(command, word, cwd=place)
        assert said(done, 3) == ""
        assert done.stderr == f"{message}\n"


def test_a_folder_of_results_that_is_named_and_absent_is_mentioned(place: Path) -> None:
    for command in ("plan", "status"):
        told = said(bench(command, "small.yaml", "--results", "resluts", cwd=place))
        assert "resluts: no such folder of results yet; bench run makes it\n" in told
        assert "no such folder" not in said(bench(command, "small.yaml", cwd=place))


def test_a_size_beyond_every_model_is_refused(tmp_path: Path) -> None:
    done = bench("architectures", "--size", "2x99999999999", cwd=tmp_path)
    assert said(done, 2) == ""
    assert (
        "--size 2x99999999999: neither layers x width, such as 2x128 (numbers up to 100,000)" in done.stderr
    )


def test_a_run_whose_result_could_not_be_written_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SUITE)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/linear_regression").write_text("a file in place of the folder of the task")
    done = bench("run", "small.yaml", "--device", "cpu", cwd=tmp_path)
    assert "finished" not in said(done, 2)
    assert done.stderr == (
        "bench: results/linear_regression: results cannot be written there (Not a directory): "
        "give another folder with --results\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_folder_that_cannot_be_read_is_not_called_empty(place: Path) -> None:
    folder = place / "results/linear_regression"
    folder.chmod(0)
    try:
        done = bench("report", "small.yaml", cwd=place)
    finally:
        folder.chmod(0o755)
    assert said(done, 2) == ""
    assert "results: no result that can be read; results/linear_regression: cannot be read (" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_result_that_cannot_be_read_is_not_trained_again(place: Path) -> None:
    (result,) = (place / "results/linear_regression").glob("mamba-*.json")
    result.chmod(0)
    done = bench("run", "small.yaml", "--device", "cpu", cwd=place)
    assert "finished" not in said(done, 2)
    assert f"{result.relative_to(place)}: a result that cannot be read (1 in all)" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["run", "small.yaml", "--workers", "1e21"],
        ["run", "small.yaml", "--gpus-per-run", "1e21"],
        ["run", "small.yaml", "--threads", "1e21"],
        ["run", "small.yaml", "--threads", "100000"],
        ["logs", "0", "--lines", "1e21"],
        ["doctor", "--train", "1e21"],
        ["evaluate", "0", "--prompts", "1e21"],
    ],
)
def test_a_number_beyond_every_machine_is_refused(place: Path, words: list[str]) -> None:
    """Whatever takes the number, a list, a thread pool or a buffer, would end with an error of its own."""
    done = bench(*(str(10**21) if word == "1e21" else word for word in words), cwd=place)
    assert said(done, 2) == ""
    assert "Traceback" not in done.stderr
    assert words[-2] in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["status", "small.yaml", "--watch", "--json"], "--watch is for people and --json for scripts"),
        (["tasks", "sparse_parity", "--differences"], "--differences is a table of all tasks"),
        (["tasks", "--differences", "--json"], "--differences is a table of all tasks"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(place: Path, words: list[str], message: str) -> None:
    done = bench(*words, cwd=place)
    assert said(done, 2) == ""
    assert message in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("target", ["mine.yaml", "suites/mine.yml"])
def test_a_file_is_no_name_of_a_new_suite(tmp_path: Path, target: str) -> None:
    done = bench("init", target, cwd=tmp_path)
    assert said(done, 2) == ""
    assert "bench init mine writes suites/mine.yaml" in done.stderr
    assert files_in(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "gpu"], "--device gpu, did you mean 'cuda'?"),
        (["--cluster", "slurm", "--cluster-config", "results"], "results: is a folder, expected a YAML file"),
    ],
)
def test_options_of_a_run_are_checked_also_where_nothing_is_left_to_run(
    place: Path, words: list[str], message: str
) -> None:
    done = bench("run", "small.yaml", *words, cwd=place)
    assert said(done, 2) == ""
    assert message in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["tasks", "mine"],
        ["architectures", "mine"],
        ["architectures", "--task", "mine"],
        ["speed", "--tasks", "mine"],
    ],
)
def test_a_name_that_is_unknown_may_be_one_of_a_plugin(place: Path, words: list[str]) -> None:
    done = bench(*words, cwd=place)
    assert said(done, 2) == ""
    assert "one of your own is loaded by --plugin FILE" in done.stderr


def test_claims_that_no_result_could_decide_are_mentioned_before_training(place: Path) -> None:
    words = ("run", "small.yaml", "--results", "new", "--dry-run")
    before = bench(*words, cwd=place)
    assert "claims" not in said(before)
    claims = CLAIMS.replace("experiment: a}", "experiment: b}") + "  b: {statement: s}\n"
    (place / "small.claims.yaml").write_text(claims)
    done = bench(*words, cwd=place)
    assert done.returncode == before.returncode == 0
    (line,) = [line for line in said(done).splitlines() if "bench check will refuse the claims" in line]
    assert "small.claims.yaml:3:43: " in line
