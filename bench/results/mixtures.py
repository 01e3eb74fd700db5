"""Differences in device, kernels and precision among results that are compared with each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from bench.results.record import RunRecord


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def mixtures(results: Iterable[RunRecord]) -> list[str]:
    """A phrase for each of device, kernels and precision that differs: "2 devices (H100: 5, A100: 1)".

    Values that were not recorded are ignored.
    """
    results = list(results)
    recorded: dict[str, list[str | None]] = {
        "devices": [result.provenance.device for result in results],
        "selective scan kernels": [result.provenance.scan for result in results],
        "precisions of matrix products": [result.run.precision for result in results],
    }
    phrases = []
    for noun, values in recorded.items():
        counts = Counter(value for value in values if value is not None)
        if len(counts) > 1:
            listed = ", ".join(
                f"{value}: {count}" for value, count in sorted(counts.items(), key=_most_first)
            )
            phrases.append(f"{len(counts)} {noun} ({listed})")
    return phrases
