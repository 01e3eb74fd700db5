"""A tenth of each campaign (tests/campaigns.py); whole campaigns are run by hand.

That of damaged pools is in tests/results/test_damaged_results.py, a test per pool.
"""

from __future__ import annotations

import pytest
from campaign_inputs import mutated_inputs
from campaign_kills import kills


@pytest.mark.slow
def test_mutated_inputs_are_planned_or_refused_in_their_place() -> None:
    assert list(mutated_inputs(120, seed=1)) == []


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost() -> None:
    assert list(kills(4, seed=1)) == []
