"""bench compares what sequence architectures learn in context, at equal training FLOPs.

`bench.make_task`, `bench.make_model` and `bench.train_run` do in Python what suites and commands do;
`bench.load_results` gives the results as a pandas data frame. `bench/guide/api.md` shows all of it.
"""

from __future__ import annotations

__version__ = "0.1.0"

# `typing` is not imported here. A command handles signals only after this module, so this module is short.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from bench.api import count_flops as count_flops
    from bench.api import load_plugin as load_plugin
    from bench.api import make_architecture as make_architecture
    from bench.api import make_model as make_model
    from bench.api import make_run as make_run
    from bench.api import make_task as make_task
    from bench.dispatch.alone import train_run as train_run
    from bench.errors import UserError as UserError
    from bench.other_prompts import evaluate_model as evaluate_model
    from bench.results.export import load_baseline_scores as load_baseline_scores
    from bench.results.export import load_curves as load_curves
    from bench.results.export import load_evaluations as load_evaluations
    from bench.results.export import load_pieces as load_pieces
    from bench.results.export import load_positions as load_positions
    from bench.results.export import load_prompt_scores as load_prompt_scores
    from bench.results.export import load_results as load_results
    from bench.train.weights import load_model as load_model

_MODULES = {
    "bench.api": (
        "count_flops", "load_plugin", "make_architecture", "make_model", "make_run", "make_task",
    ),
    "bench.dispatch.alone": ("train_run",),
    "bench.errors": ("UserError",),
    "bench.other_prompts": ("evaluate_model",),
    "bench.results.export": (
        "load_baseline_scores", "load_curves", "load_evaluations", "load_pieces", "load_positions",
        "load_prompt_scores", "load_results",
    ),
    "bench.train.weights": ("load_model",),
}  # fmt: skip
__all__ = [name for names in _MODULES.values() for name in names]


def __getattr__(name: str) -> Any:
    """Import a function at its first use: commands start without pandas and without torch."""
    for module, names in _MODULES.items():
        if name in names:
            import importlib

            return getattr(importlib.import_module(module), name)
    from bench.errors import did_you_mean

    near = did_you_mean(name, __all__)
    raise AttributeError(f"module 'bench' has no attribute '{name}'{near}", name=name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
