"""Strict YAML: numbers are numbers, keys are unique, and every error has a line and a column."""

from bench.strict_yaml.document import Document, check, lines, read, validate

__all__ = ["Document", "check", "lines", "read", "validate"]
