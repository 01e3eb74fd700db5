"""`bench check --null` and `--reversed`: claims that would pass on made-up results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench import check as checks
from bench.check import claims as claims_of
from bench.check import worlds
from bench.cli import printing
from bench.cli.arguments import SuiteChoice
from bench.cli.verdicts import show_in_full, show_lines
from bench.digits import count_of
from bench.suite import Suite


def try_claims(choice: SuiteChoice, *, null: bool, as_json: bool, verbose: bool) -> None:
    """Print the claims that pass on made-up results. No result is read or written.

    Args:
        choice: the suite.
        null: whether nothing was learned in the results; otherwise every order that claims state is reversed.
        as_json: print JSON instead of tables.
        verbose: print each claim with its statement, source, reason and runs.
    """
    suite = choice.load()
    claims = claims_of.load(claims_of.path_for(suite.path), suite)
    world = worlds.null_world(suite) if null else worlds.reversed_world(claims, suite)
    world = world.of(claims)
    out = printing.Output()
    if not null and not world.reversed_claims and not as_json:
        out.say(f"No claim of suite {suite.name} states an order: --reversed has nothing to reverse.")
        return
    verdicts = checks.check(claims, suite, world.pool, {}, allow_synthetic=True)
    if as_json:
        out.json(_as_json(world, verdicts))
    else:
        _show(suite, claims, world, verdicts, verbose, out)


def _as_json(world: worlds.World, verdicts: Sequence[checks.Verdict]) -> dict[str, Any]:
    """The claims that pass on made-up results, for scripts."""
    passing = [
        {
            "claim": verdict.claim,
            "kind": verdict.kind,
            "statement": verdict.statement,
            "expected": verdict.expected,
            "turned_round": verdict.claim in world.reversed_claims,
            "reason": verdict.reason,
        }
        for verdict in verdicts
        if verdict.verdict == "reproduced"
    ]
    return {
        "world": world.name,
        "turned_round": world.reversed_claims,
        "passing": passing,
        "counts": checks.to_json(verdicts)["counts"],
    }


def _show(
    suite: Suite,
    claims: claims_of.Claims,
    world: worlds.World,
    verdicts: Sequence[checks.Verdict],
    verbose: bool,
    out: printing.Output,
) -> None:
    turned = (
        f" These are the orders of {count_of(len(world.reversed_claims), 'claim')}."
        if world.reversed_claims
        else ""
    )
    out.say(f"Made-up results of suite {suite.name}: {world.description}.{turned}")
    passing = [verdict for verdict in verdicts if verdict.verdict == "reproduced"]
    if passing:
        (show_in_full if verbose else show_lines)(passing, claims.claims, out)
    if also := [verdict.claim for verdict in passing if verdict.claim in world.reversed_claims]:
        out.say(f"Their order is reversed: {', '.join(also)}.")
    others = checks.counts(verdicts, without=["reproduced"])
    rest = f" Verdicts on the others: {others}." if others else ""
    out.say(f"{count_of(len(verdicts), 'claim')}: {len(passing)} would still pass.{rest}")
