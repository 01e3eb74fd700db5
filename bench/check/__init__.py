"""Compare results with the claims about a suite: one verdict per claim."""

from bench.check.verdicts import WORDS, Verdict, check, exit_code, to_json

__all__ = ["WORDS", "Verdict", "check", "exit_code", "to_json"]
