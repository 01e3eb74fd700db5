"""A small part of each campaign (tests/campaigns.py); the whole of one is run by hand."""

from __future__ import annotations

import pytest
from campaign_inputs import mutated_inputs
from campaign_kills import kills


@pytest.mark.slow
def test_mutated_inputs_are_planned_or_refused_in_their_place() -> None:
    assert list(mutated_inputs(60, seed=1)) == []


@pytest.mark.slow
def test_killed_at_any_moment_nothing_is_lost() -> None:
    assert list(kills(2, seed=1)) == []
