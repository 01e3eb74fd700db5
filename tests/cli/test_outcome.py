"""What `bench run` prints at the end."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from toy import toy_suite

from bench import suite as suites
from bench.cli.arguments import SuiteChoice
from bench.cli.outcome import conclude
from bench.cli.printing import Output
from bench.dispatch.job import Baselines
from bench.dispatch.order import Order
from bench.dispatch.state import Folder


@pytest.mark.parametrize("has_failed", [True, False])
def test_baselines_that_failed_and_those_that_are_missing_have_different_words(
    has_failed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of a cancelled job are missing: there is no failure to see, and none to try again."""
    suite = tmp_path / "toy.yaml"
    suite.write_text(toy_suite(steps=10))
    run = suites.load(suite).runs[0]
    baselines = Baselines(run.task, run.task_id, run.evaluation_prompts)
    if has_failed:
        Folder.of(tmp_path, baselines.id).fail(ValueError("no floor"))
    choice = SuiteChoice.of(suite, results=tmp_path)
    with pytest.raises(typer.Exit) as end:
        conclude(choice, Order(tmp_path, (), {}), [], [baselines], Output())
    assert end.value.exit_code == 1
    printed = capsys.readouterr().out
    line = f"  baselines of {run.task.name}: "
    assert (f"{line}failed: ValueError: no floor" in printed) is has_failed
    assert (f"{line}missing\n" in printed) is not has_failed
    assert ("--retry failed" in printed) is has_failed
