"""From a suite to jobs in a queue and back to results."""

from __future__ import annotations

import os
import signal

import pytest
from conftest import Place

from bench.results import STATE

pytestmark = pytest.mark.slurm


def test_runs_go_through_the_queue_and_end_with_the_numbers_of_a_local_run(
    place: Place, undisturbed: dict[str, str]
) -> None:
    output = place.submit("--wait")
    print(output)
    assert "2 jobs in 1 array" in output
    assert "2 finished" in output
    assert place.numbers() == undisturbed
    place.await_quiet()
    left = [path.name for path in (place.results / STATE / "orders").glob("*/*")]
    assert not [name for name in left if name.endswith(".pkl")], "submitit's pickles are cleaned"
