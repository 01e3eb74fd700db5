"""Long searches for faults; the tests run a part. `python tests/campaigns.py NAME --count N --seed S`.

A campaign is a function of a count and a seed that yields what it finds, a line a fault.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

import damaged_pools

CAMPAIGNS: dict[str, Callable[[int, int], Iterator[str]]] = {
    "damaged-pools": damaged_pools.campaign,
}
"""By name; the first line of each docstring is its help."""


def main() -> int:
    """Run the campaign that the command line names; the exit code is 1 when it found a fault."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = parser.add_subparsers(dest="name", required=True)
    for name, campaign in CAMPAIGNS.items():
        one = names.add_parser(name, help=(campaign.__doc__ or "").splitlines()[0])
        one.add_argument("--count", type=int, default=100, help="how many cases")
        one.add_argument("--seed", type=int, default=0, help="of the first case")
    arguments = parser.parse_args()
    faults = 0
    for fault in CAMPAIGNS[arguments.name](arguments.count, arguments.seed):
        faults += 1
        print(fault, flush=True)
    print(f"{arguments.name}: {arguments.count} cases from seed {arguments.seed}: {faults} faults")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
