"""Suites: a YAML file of named experiments, each a grid of runs."""

from bench.suite.format import json_schema
from bench.suite.load import Experiment, Suite, load

__all__ = ["Experiment", "Suite", "json_schema", "load"]
