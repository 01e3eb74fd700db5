"""Numbers as YAML writes them, as regular expressions: those of the YAML 1.2 core schema, and underscores."""

_DIGITS, _POWER = r"[0-9]+(?:_[0-9]+)*", r"[eE][-+]?[0-9]+"
WHOLE_NUMBER = r"[-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*)"
FRACTION = rf"[-+]?(?:(?:{_DIGITS}\.[0-9]*|\.[0-9]+)(?:{_POWER})?|{_DIGITS}{_POWER})"
"""A finite number with a point, a power of ten, or both."""
NOT_FINITE = r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
