"""bench compares what sequence architectures learn in context, at equal training FLOPs.

In a notebook, `bench.load_results("results")` gives every result as a pandas data frame.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["load_results"]

# `typing` is not imported here: a command hears signals only once this module has been executed.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bench.results.export import load_results


def __getattr__(name: str) -> Any:
    """Import `load_results` on first use: it needs pandas, and the commands should start without pandas."""
    if name == "load_results":
        from bench.results.export import load_results

        return load_results
    raise AttributeError(f"module 'bench' has no attribute '{name}'")
