"""The tasks, by name. A new one is a file and a line here."""

from __future__ import annotations

from bench.tasks.parity import SparseParity
from bench.tasks.regression import DecisionTree, LinearRegression, SparseLinearRegression, TwoLayerNetwork
from bench.tasks.task import PROTOCOLS, Protocol, Task

TASKS: dict[str, type[Task]] = {
    "linear_regression": LinearRegression,
    "sparse_linear_regression": SparseLinearRegression,
    "two_layer_network": TwoLayerNetwork,
    "decision_tree": DecisionTree,
    "sparse_parity": SparseParity,
}

__all__ = ["PROTOCOLS", "TASKS", "Protocol", "Task"]
