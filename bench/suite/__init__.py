"""Suites: a YAML file of named experiments, each a grid of runs."""

from bench.suite.load import Experiment, Suite, json_schema, load

__all__ = ["Experiment", "Suite", "json_schema", "load"]
