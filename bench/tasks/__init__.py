"""All tasks by name. A new task is a module in this folder and a line in `TASKS`."""

from __future__ import annotations

from bench.tasks.chain_of_thought import ChainOfThought
from bench.tasks.dynamical_system import LinearDynamicalSystem
from bench.tasks.finite_regression import FiniteRegression
from bench.tasks.fuzzy_recall import FuzzyRecall
from bench.tasks.languages.ginc import GINC
from bench.tasks.languages.regbench import RegBench
from bench.tasks.markov_chain import MarkovChain
from bench.tasks.memorisation import Memorisation
from bench.tasks.noisy_recall import NoisyRecall
from bench.tasks.outliers import ManyOutlierRegression, OrthogonalOutlierRegression
from bench.tasks.parity import SparseParity
from bench.tasks.recall import VectorMQAR
from bench.tasks.regression import DecisionTree, LinearRegression, SparseLinearRegression, TwoLayerNetwork
from bench.tasks.selective_copying import SelectiveCopying
from bench.tasks.task import PROTOCOLS, Protocol, Task
from bench.tasks.token_recall import TokenMQAR
from bench.tasks.word_problem import WordProblem

TASKS: dict[str, type[Task]] = {
    "linear_regression": LinearRegression,
    "sparse_linear_regression": SparseLinearRegression,
    "two_layer_network": TwoLayerNetwork,
    "decision_tree": DecisionTree,
    "orthogonal_outlier_regression": OrthogonalOutlierRegression,
    "many_outlier_regression": ManyOutlierRegression,
    "sparse_parity": SparseParity,
    "chain_of_thought": ChainOfThought,
    "vector_mqar": VectorMQAR,
    "ginc": GINC,
    "regbench": RegBench,
    "word_problem": WordProblem,
    "token_mqar": TokenMQAR,
    "markov_chain": MarkovChain,
    "finite_regression": FiniteRegression,
    "linear_dynamical_system": LinearDynamicalSystem,
    "selective_copying": SelectiveCopying,
    "noisy_recall": NoisyRecall,
    "fuzzy_recall": FuzzyRecall,
    "memorisation": Memorisation,
}

__all__ = ["PROTOCOLS", "TASKS", "Protocol", "Task"]
