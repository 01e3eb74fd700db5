"""Compare results with the claims about a suite: one verdict per claim."""

from bench.check.verdict import WORDS, Verdict, counts, exit_code, to_json
from bench.check.verdicts import check

__all__ = ["WORDS", "Verdict", "check", "counts", "exit_code", "to_json"]
