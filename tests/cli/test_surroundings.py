"""What lies around a suite does not change what is made of it: other suites, settings, plugins, terminals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command import ROOT, as_json, bench, said
from synthetic import write_pool

from bench import suite as suites
from bench.report.figures.axes import steps_label
from bench.results import load_run

SUITE = """\
name: {name}
experiments:
  a:
    tasks: [{{name: linear_regression, n_dims: 2, n_points: 4}}]
    architectures: [mamba]
    sizes: [{{layers: 1, width: 16}}]
    learning_rates: [1e-3]
    steps: 20
"""


def write(folder: Path, file: str, name: str) -> Path:
    path = folder / "suites" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(SUITE.format(name=name), encoding="utf-8")
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a suite and a made-up result of it."""
    write_pool(tmp_path / "results", suites.load(write(tmp_path, "one.yaml", "one")).runs)
    return tmp_path


CLAIMS = """\
suite: {name}
claims:
  a: {{statement: s, measure: {{experiment: a}}, bound: {{at_most: 1e6}}}}
"""


@pytest.mark.slow
def test_suites_of_one_name_overwrite_nothing_of_each_other(place: Path) -> None:
    write(place, "two.yaml", "one")
    for arguments in ([], ["suites/one.yaml", "suites/two.yaml"]):
        done = bench("report", *arguments, cwd=place)
        said(done, 2)
        assert "suites/one.yaml and suites/two.yaml are both named 'one'" in done.stderr
    assert not (place / "reports").exists()

    said(bench("report", "suites/one.yaml", cwd=place))
    kept = (place / "reports/one/index.html").read_bytes()
    refused = bench("report", "suites/two.yaml", cwd=place)
    said(refused, 2)
    assert "suites/one.yaml and suites/two.yaml are both named 'one'" in refused.stderr
    assert (place / "reports/one/index.html").read_bytes() == kept

    for file in ("one", "two"):
        (place / f"suites/{file}.claims.yaml").write_text(CLAIMS.format(name="one"))
    assert bench("check", "suites/one.yaml", "--json", cwd=place).returncode == 2  # made up
    refused = bench("check", "suites/two.yaml", cwd=place)
    said(refused, 2)
    assert "suites/one.yaml and suites/two.yaml are both named 'one'" in refused.stderr

    # Moved together, or renamed: nobody is in the way.
    moved = place.with_name("moved")
    place.rename(moved)
    (moved / "suites/one.yaml").unlink()
    said(bench("report", "suites/two.yaml", cwd=moved))


@pytest.mark.slow
def test_a_suite_that_cannot_be_used_keeps_no_other_from_its_report(place: Path) -> None:
    shutil.copy(place / "suites/one.yaml", place / "suites/broken.yaml")
    broken = place / "suites/broken.yaml"
    broken.write_text(SUITE.format(name="broken").replace("[mamba]", "[of_a_plugin]"))
    write(place, "zwei.yaml", "zwei")
    (place / "suites/zwei.claims.yaml").write_text(CLAIMS.format(name="another"))
    done = bench("report", cwd=place)
    assert done.returncode == 3
    assert "one: 1 of 1 run have results" in done.stdout.replace("1 runs", "1 run")
    assert (place / "reports/one/index.html").exists()
    first, second = done.stderr.splitlines()
    assert first.startswith("suites/broken.yaml:5:21: unknown architecture 'of_a_plugin'")
    assert second.startswith("suites/zwei.claims.yaml:1:8: these are claims about 'another'")


@pytest.mark.slow
def test_figures_depend_on_no_settings_of_the_user(place: Path) -> None:
    said(bench("report", "--reports", "plain", cwd=place))
    settings = "text.usetex: True\nfont.size: 40\nsavefig.dpi: 10\nno.such.key: 1\nbackend: nonsense\n"
    (place / "matplotlibrc").write_text(settings)
    (place / "home/matplotlib").mkdir(parents=True)
    (place / "home/matplotlib/matplotlibrc").write_text(settings)
    surroundings = {
        "MPLBACKEND": "nonsense",
        "XDG_CONFIG_HOME": str(place / "home"),
        "MPLCONFIGDIR": "/proc/cannot/be/written",
    }
    said(bench("report", "--reports", "set", cwd=place, **surroundings))
    figures = sorted((place / "plain/one/figures").iterdir())
    assert figures
    for figure in figures:
        assert figure.read_bytes() == (place / "set/one/figures" / figure.name).read_bytes(), figure.name


TALKATIVE = """
from bench.models.architecture import Architecture
from bench.models.blocks import Mamba

print("loading ×")


class Loud(Mamba):
    def multiplications(self, L, D):
        print("multiplying ×")
        return super().multiplications(L, D)


loud = Architecture(name="loud", layer=(Loud(), Loud()))
"""


@pytest.mark.slow
def test_what_a_plugin_prints_is_no_part_of_the_answer(place: Path) -> None:
    (place / "loud.py").write_text(TALKATIVE, encoding="utf-8")
    path = place / "suites/one.yaml"
    path.write_text(path.read_text().replace("[mamba]", "[loud, mamba]"))
    done = bench("plan", "suites/one.yaml", "--json", "--plugin", "loud.py", cwd=place)
    assert "loading" in done.stderr
    assert "multiplying" in done.stderr
    assert len(json.loads(done.stdout)["runs"]) == 2
    assert (
        "loud"
        in json.loads(bench("schema", "--plugin", "loud.py", cwd=place).stdout)["$defs"]["ArchitectureName"][
            "enum"
        ]
    )


@pytest.mark.slow
def test_output_degrades_where_letters_cannot_be_written(place: Path) -> None:
    plain = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    path = place / "suites/one.yaml"
    path.write_text(path.read_text() + "    rebuilds: Prüfung ✓\n", encoding="utf-8")
    shown = said(bench("plan", "suites/one.yaml", cwd=place, **plain))
    assert "1x16" in shown
    assert "Prufung" in shown
    assert shown.isascii()
    assert "Usage" in said(bench("run", "--help", cwd=place, **plain))
    again = as_json(bench("plan", "suites/one.yaml", "--json", cwd=place, **plain))
    assert again == as_json(bench("plan", "suites/one.yaml", "--json", cwd=place))


@pytest.mark.slow
def test_a_missing_claims_file_is_not_taken_for_a_suite(place: Path) -> None:
    done = bench("check", "suites/one.yaml", cwd=place)
    said(done, 3)
    assert "one.claims.yaml: no such file" in done.stderr
    assert "did you mean" not in done.stderr


@pytest.mark.slow
def test_gpu_means_cuda(place: Path) -> None:
    done = bench("run", "suites/one.yaml", "--results", "none", "--device", "gpu", cwd=place)
    said(done, 2)
    assert "did you mean 'cuda'?" in done.stderr


@pytest.mark.parametrize(
    ("steps", "text"), [(0, "0"), (200, "200"), (1000, "1k"), (2500, "2.5k"), (500_000, "500k"), (1e6, "1M")]
)
def test_steps_are_written_as_people_write_them(steps: float, text: str) -> None:
    assert steps_label(steps) == text


def test_runs_train_although_the_standard_streams_are_closed(tmp_path: Path) -> None:
    """As a daemon may start a command: the next files that it opens would take the streams' numbers."""
    write(tmp_path, "one.yaml", "one")
    script = 'exec "$@" <&- >&- 2>&-'
    words = [sys.executable, "-m", "bench", "run", "suites/one.yaml", "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", script, "-", *words], cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0
    (run,) = suites.load(tmp_path / "suites/one.yaml").runs
    assert load_run(tmp_path / "results", run) is not None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such names")
def test_a_folder_whose_name_is_not_utf8_is_as_good_as_another(place: Path) -> None:
    """Names made under another locale, as on older clusters, and a terminal of strict UTF-8."""
    folder = os.fsdecode(b"m\xfcller")
    shutil.copytree(place, place / folder)
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    suite, results = f"{folder}/suites/one.yaml", f"{folder}/results"
    shown = said(bench("report", suite, "--results", results, "--reports", folder, cwd=place, **strict))
    assert r"m\udcfcller/one/index.html" in shown
    assert r"m\udcfcller" in (place / folder / "one/index.html").read_text(encoding="utf-8")
    assert as_json(bench("plan", suite, "--results", results, "--json", cwd=place, **strict))["runs"]
    said(bench("init", f"{folder}/new", "--claims", "--plugin", cwd=place, **strict))
    words = ["withdraw", "--results", results, "--filter", "id=*", "--reason", folder]
    assert r"m\udcfcller" in said(bench(*words, cwd=place, **strict))
    assert r"m\udcfcller" in said(bench("withdraw", "--results", results, cwd=place, **strict))
