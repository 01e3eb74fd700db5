"""bench compares what sequence architectures learn in context, at equal training FLOPs.

In a notebook, `bench.load_results("results")` gives every result as a pandas data frame, and
`bench.load_model(id)` gives a trained model whose weights were kept.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["load_model", "load_results"]

# `typing` is not imported here. A command handles signals only after this module, so this module is short.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bench.results.export import load_results
    from bench.train.weights import load_model


def __getattr__(name: str) -> Any:
    """Import the functions on first use: the commands should start without pandas and without torch."""
    if name == "load_results":
        from bench.results.export import load_results

        return load_results
    if name == "load_model":
        from bench.train.weights import load_model

        return load_model
    raise AttributeError(f"module 'bench' has no attribute '{name}'")
