"""How a task's scores are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import pandas as pd

from bench.digits import plus_minus
from bench.results.evaluations import CONVERGENCE_ACCURACY, headline_words
from bench.results.record import MAIN
from bench.tasks import Task
from bench.uncertainty import largest_unseen_rate

Numbers = TypeVar("Numbers", float, "pd.Series[float]")


@dataclass(frozen=True)
class ScoreScale:
    """How a task's scores are shown. The task's definition determines it, so it needs no result.

    Attributes:
        metric: the kind of scores (`bench.tasks.task.Metric`).
        scale: what a raw score is divided by before it is shown (1 for an accuracy).
        trivial: what a predictor that has learned nothing would show.
        n_points: points in a prompt.
        headline: the mark at which the task's headline is read; None for the mean over positions.
        axis: what positions count.
        learned: the mean accuracy at which the task counts as learned.
    """

    metric: str
    scale: float
    trivial: float
    n_points: int
    headline: str | None = None
    axis: str = "in-context examples"
    learned: float = CONVERGENCE_ACCURACY

    @classmethod
    def of(cls, task: Task) -> ScoreScale:
        scale = 1.0 if task.metric == "accuracy" else task.error_scale
        axis = task.evaluations()[MAIN].axis
        learned = CONVERGENCE_ACCURACY if task.convergence_accuracy is None else task.convergence_accuracy
        return cls(task.metric, scale, task.trivial / scale, task.n_points, task.headline, axis, learned)

    @property
    def higher_is_better(self) -> bool:
        return self.metric == "accuracy"

    def score_of(self, error: Numbers) -> Numbers:
        """The score that a report shows for a normalised error: 1 − error of an accuracy. And the reverse."""
        return 1 - error if self.higher_is_better else error

    def text(self, value: float, standard_error: float, prompts: int) -> str:
        """A score with its standard error: "0.912 ± 0.003"; "1 (> 0.9976)" where all answers are right.

        Args:
            value: the score.
            standard_error: 0 for an accuracy of 1 or 0 on every prompt, in every seed.
            prompts: independent prompts on which the score rests.
        """
        if not (self.metric == "accuracy" and value in (0, 1) and standard_error == 0):
            return plus_minus(value, standard_error)
        # The mean over positions of a prompt is not below 1 more often than one of its answers is wrong.
        rate = largest_unseen_rate(prompts)
        places = 1 - math.floor(math.log10(rate))
        end = math.ceil(rate * 10**places) / 10**places
        bound = f"> {1 - end:.{places}f}" if value == 1 else f"< {end:.{places}f}"
        return f"{value:.0f} ({bound})"

    @property
    def label(self) -> str:
        return "accuracy" if self.higher_is_better else "normalised error"

    @property
    def where(self) -> str:
        """Where in the prompt the headline is read, in words."""
        return headline_words(self.headline)

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest score that is possible: 0 and 1 for an accuracy, and 0 for an error."""
        return 0.0, 1.0 if self.higher_is_better else math.inf

    @property
    def positions(self) -> str:
        """The label of an axis of positions: "in-context examples", "position (elements before it)"."""
        plain = self.axis.replace(" before", " before it")
        return self.axis if plain == self.axis else f"position ({plain})"

    @property
    def best_word(self) -> str:
        """What a bound that no predictor passes is called: a floor of errors, a ceiling of accuracies."""
        return "ceiling" if self.higher_is_better else "floor"
