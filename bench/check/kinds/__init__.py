"""The kinds of claim. A further kind is one file in this folder and one entry in `KINDS`."""

from __future__ import annotations

from bench.check.claim import Claim
from bench.check.kinds.bound import BoundClaim
from bench.check.kinds.count import CountClaim
from bench.check.kinds.equivalent import EquivalentClaim
from bench.check.kinds.order import OrderClaim
from bench.check.kinds.symbol import SymbolClaim
from bench.check.kinds.trend import TrendClaim
from bench.check.kinds.value import ValueClaim

KINDS: dict[str, type[Claim]] = {
    claim.kind: claim
    for claim in (
        ValueClaim,
        BoundClaim,
        OrderClaim,
        TrendClaim,
        SymbolClaim,
        EquivalentClaim,
        CountClaim,
    )
}
"""Kinds of claim by the key that states them in a claims file."""
