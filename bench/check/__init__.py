"""Results held against the claims of a suite: a verdict for each."""

from bench.check.verdicts import Verdict, check, exit_code, to_json

__all__ = ["Verdict", "check", "exit_code", "to_json"]
