"""Results held against the claims of a suite: a verdict for each."""

from bench.check.verdicts import WORDS, Verdict, check, exit_code, to_json

__all__ = ["WORDS", "Verdict", "check", "exit_code", "to_json"]
