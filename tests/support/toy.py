"""Small suites for tests that run commands."""

from __future__ import annotations

import json
from typing import Any


def toy_suite(**settings: Any) -> str:
    """The text of a suite "tiny" with one experiment of small Transformers; `settings` replace its own.

    JSON is YAML.
    """
    usual = {
        "tasks": [{"name": "linear_regression", "n_dims": 3, "n_points": 5}],
        "architectures": ["transformer"],
        "sizes": [{"layers": 1, "width": 16, "heads": 4}],
        "learning_rates": [1e-3],
        "batch_size": 16,
        "evaluation_prompts": 32,
    }
    return json.dumps({"name": "tiny", "experiments": {"tiny": {**usual, **settings}}})


TWO_RUNS = toy_suite(architectures=["transformer", "s4_mamba"], steps=200, checkpoints=[100])
"""Two runs of a few seconds: long enough to be killed on the way."""
