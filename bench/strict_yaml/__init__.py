"""Strict YAML: numbers are numbers, keys are unique, and every error has a line and a column."""
