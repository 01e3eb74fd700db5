"""bench compares what sequence architectures learn in context, at equal training FLOPs.

In a notebook, `bench.load_results("results")` gives every result as a pandas data frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["load_results"]

if TYPE_CHECKING:
    from bench.results.export import load_results


def __getattr__(name: str) -> Any:
    """Import `load_results` on first use: it needs pandas, and the commands should start without pandas."""
    if name == "load_results":
        from bench.results.export import load_results

        return load_results
    raise AttributeError(f"module 'bench' has no attribute '{name}'")
