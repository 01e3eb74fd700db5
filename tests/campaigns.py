"""Long campaigns against the harness, each with a count and a seed: `python tests/campaigns.py NAME`.

The test suite runs a small part of each. A campaign yields its faults, one line each; a fault names the seed
and the number of its case, with which it is found again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "support"))

from campaign_inputs import mutated_inputs
from campaign_kills import kills
from damaged_pools import campaign as damaged_pools

Campaign = Callable[[int, int], Iterable[str]]

CAMPAIGNS: dict[str, tuple[Campaign, int]] = {
    "mutated-inputs": (mutated_inputs, 2000),
    "kills": (kills, 60),
    "damaged-pools": (damaged_pools, 500),
}
"""By name: what runs it, given a count and a seed, and how many cases it has unless told otherwise."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CAMPAIGNS)
    parser.add_argument("--count", type=int, help="cases (default: those of the campaign)")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    campaign, usual = CAMPAIGNS[asked.name]
    count = usual if asked.count is None else asked.count
    faults = 0
    for fault in campaign(count, asked.seed):
        faults += 1
        print(fault, flush=True)
    print(f"{asked.name}: {count} cases from seed {asked.seed}, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
