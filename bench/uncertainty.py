"""Standard errors, intervals and draws of mean errors over prompts and seeds, on plain numbers.

A mean error has two sources of chance: the prompts on which models are scored, and the training (a seed fixes
the initialisation and the stream of prompts). A model with S seeds on P prompts has errors e[s, p]. The mean
over both varies by

    V = σ²(seed) / S + σ²(prompt) / P + σ²(seed × prompt) / (S·P).

The variance of the S seed means, divided by S, estimates the sum of the first and the last term. The variance
of the P prompt means, divided by P, estimates the sum of the last two terms. V is the sum of both estimates,
minus the last term, which both contain.

Some numbers have few possible values. A horizon is a number of positions, and a step of convergence is a step
at which the model was checked. S seeds may then have equal values, although another training may give another
value. They are treated as if one seed had the next possible value, at a distance of d. This is the smallest
spread that S different seeds can show. The standard error of their mean is then d / S, and its variance

    (d / S)².

At the ends of the range (no position, all positions, no error) there is no further value, and equal seeds
have no spread. How far another training would fall short is unknown, so a claim about such seeds depends on
their number: three of three show with 95 % confidence that at least 37 % of all trainings end there (0.05 to
the power of 1/3). An accuracy between 0 and 1 needs no such rule, because prompts make it vary by at least
about one answer.

Such a number is also coarse for a single model (`SeedErrors.resolution`). A model that had not learned at the
check after 1,000 steps, and had learned at the check after 2,000, learned at a step from 1,001 to 2,000. A
horizon of 128 may be any number up to 135 if the next scored position is the 136th. If no other training is
drawn, half of the draws have the lower end of this range and half have the upper end. Each combination of
ends of up to four numbers then has more than 5 % of the draws. So a claim is decided only if it does not
depend on where in their ranges the numbers are. If other trainings are drawn, the spread of the seeds
includes this uncertainty.

All models of a task are scored on the same prompts. Draws therefore resample the prompts once for all models
(comparisons are paired), and the training of each model alone. Draws of training follow Student's t with
S − 1 degrees of freedom, because three seeds say little about their own spread.

Prompts must be independent. Where several share a hidden function, as in a batch of sparse parity with a
single subset, results store their mean score, and each such group counts as one prompt in all of the above.

Draws of few prompts are too close to their mean. The Bayesian bootstrap of P prompts has (P − 1)/(P + 1) of
the variance s²/P of a mean, and few prompts say little about their own spread s. All deviations are therefore
multiplied by √((P + 1)/(P − 1)) · t / 1.645, where t is the 95 % quantile of Student's t with P − 1 degrees
of freedom: 1.10 for 20 prompts, 1.0015 for 1,280. This is the expanded percentile interval of Hesterberg
(2015, "What Teachers Should Know About the Bootstrap") for these weights. In simulations of one model (20,000
for each cell), 90 % intervals cover the true mean as often as follows, without and with the factor. Errors
are normal, follow a gamma distribution of shape 2, or are squares of single normal numbers:

    prompts      normal          gamma         squares
          3   0.62   0.89     0.60   0.86    0.54   0.75
          5   0.74   0.89     0.72   0.87    0.66   0.78
         10   0.82   0.90     0.81   0.88    0.76   0.83
         20   0.87   0.90     0.86   0.89    0.82   0.86
         50   0.88   0.90     0.88   0.89    0.86   0.87
        200   0.89   0.90     0.90   0.90    0.89   0.90

What squares still lack is above the interval: the mean of few such errors is often too low, because large
ones are rare. A claim takes at least ten independent prompts (`bench.check.claim.LEAST_PROMPTS`).

Resampled prompts repeat only errors that were seen. With resampling alone, a model without an error would be
better in every draw than a model with a single wrong answer. If an error is a share of n independent answers,
a draw is therefore γ/n larger. γ follows a gamma distribution of shape ½, which is Jeffreys' prior for a
rate. Its mean is half an answer. It is drawn for each model separately. The answers of a prompt depend on
each other, so n is between the number of prompts and that of all answers (`bench.results.evaluations`).

A horizon is the position at which accuracies cross a bound. Each draw changes all accuracies by the same
number of standard errors, which is a normal number, and reads the horizon again (`Steps`). All accuracies
change together, because a model that has lost the state of a prompt answers the rest of the prompt wrongly.
The accuracies of all seeds of a model change together too, because results do not keep the scores of each
prompt and position. This can only widen the interval of their mean.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DRAWS = 2000
LOW, HIGH = 0.05, 0.95
"""Quantiles at the ends of a 90 % interval."""
_NORMAL_95 = 1.6449
_STUDENT_95 = (
    6.3138, 2.9200, 2.3534, 2.1318, 2.0150, 1.9432, 1.8946, 1.8595, 1.8331, 1.8125, 1.7959, 1.7823, 1.7709,
    1.7613, 1.7531, 1.7459, 1.7396, 1.7341, 1.7291, 1.7247,
)  # fmt: skip
"""95 % quantiles of Student's t for 1, 2, … degrees of freedom."""


@dataclass(frozen=True, eq=False)
class Steps:
    """A number that rises in steps as scores rise, such as a horizon.

    Attributes:
        values: the possible numbers, ascending, (N,).
        moves: by how many of their standard errors scores must rise for each number, ascending, (N,). The
            first entry is −∞, because the lowest number needs no score.
    """

    values: Floats
    moves: Floats

    def after(self, moves: npt.ArrayLike) -> Floats:
        """The number after scores rise by `moves` standard errors, with the shape of `moves`."""
        return np.asarray(self.values[np.searchsorted(self.moves, moves, side="right") - 1])

    @property
    def value(self) -> float:
        """The number on the prompts that were seen."""
        return float(self.after(0.0))

    @property
    def gap(self) -> float:
        """The distance from `value` to the next larger number; 0 for the highest number."""
        larger = self.values[self.values > self.value]
        return float(larger[0]) - self.value if len(larger) else 0.0

    @property
    def unit(self) -> float:
        """`gap`, or 0 for the lowest number, where the spread of other trainings is unknown."""
        return 0.0 if self.value == self.values[0] else self.gap

    @property
    def prompt_error(self) -> float:
        """Standard error over prompts: half of the rise from scores one error lower to one error higher."""
        low, high = self.after([-1.0, 1.0])
        return float(high - low) / 2


@dataclass(frozen=True, eq=False)
class SeedErrors:
    """The errors of one model, trained with several seeds and scored on the same prompts.

    Attributes:
        key: identifies the model. The trainings of two models vary independently.
        means: mean error of each seed over prompts, (S,).
        prompt_errors: standard error of each of `means` over prompts, (S,).
        prompts: digest of the prompts. Models with the same digest share their prompts.
        per_prompt: error of each seed on every independent prompt, (S, P); None where a result does not keep
            them.
        limits: the lowest and the highest possible mean.
        unit: the distance from equal `means` to the next possible value; 0 if means can have any value, and
            at the limits.
        answer: by how much one more wrong answer changes the mean of a seed; 0 if the errors are not shares
            of answers.
        steps: for each seed, its number on other prompts, if it rises in steps; None otherwise.
        resolution: how far the mean of these models may be below and above `means`' mean; (0, 0) for an exact
            number.
        prompt_count: number of independent prompts from which `prompt_errors` are estimated; infinite if
            these are known. Not read where there are errors `per_prompt`.
    """

    key: str
    means: Floats
    prompt_errors: Floats
    prompts: str = ""
    per_prompt: Floats | None = None
    limits: tuple[float, float] = (-math.inf, math.inf)
    unit: float = 0.0
    answer: float = 0.0
    steps: Sequence[Steps] | None = None
    resolution: tuple[float, float] = (0.0, 0.0)
    prompt_count: float = math.inf

    @property
    def mean(self) -> float:
        """Mean over prompts and seeds."""
        return float(self.means.mean())

    @property
    def independent_prompts(self) -> float:
        """Number of independent prompts; infinite if `prompt_errors` are known."""
        return self.prompt_count if self.per_prompt is None else self.per_prompt.shape[1]

    @cached_property
    def variances(self) -> tuple[float, float]:
        """Two variances of `mean`: through training, without the part of the prompts, and through prompts.

        With one seed the first is unknown and returned as 0.
        """
        training, prompts = map(float, variances(self.means, self.prompt_errors))
        if self.per_prompt is not None:
            seeds, count = self.per_prompt.shape
            prompts = float(self.per_prompt.mean(axis=0).var(ddof=1)) / count if count > 1 else 0.0
            training = max(training - _interaction(self.per_prompt) / (seeds * count), 0.0)
        if len(self.means) > 1 and (self.means == self.means[0]).all():
            training = max(training, (self.unit / len(self.means)) ** 2)
        return training, prompts

    @property
    def standard_error(self) -> float:
        """Standard error of `mean` over prompts and, with several seeds, over training."""
        return math.hypot(math.sqrt(self.variances[0]), self.prompt_error)

    @property
    def prompt_error(self) -> float:
        """Standard error of `mean` over prompts alone, including errors that no prompt has shown."""
        unseen = self.answer / len(self.means) * math.sqrt(0.5)  # the deviation of γ
        return math.hypot(math.sqrt(self.variances[1]), unseen)

    @property
    def half_width(self) -> float:
        """Half of the 90 % interval of `mean`."""
        return float(half_width(*self.variances, len(self.means), self.independent_prompts))

    def draws(self, training: bool = True) -> Floats:
        """Draws of the mean error, (DRAWS,), within `limits`. Every call returns the same draws.

        Args:
            training: whether other trainings are drawn too, if there are several seeds.
        """
        values = self._unlimited(training)
        if self.answer:
            unseen = _generator(self.key, "unseen errors").standard_gamma(0.5, DRAWS)
            values = values + self.answer / len(self.means) * unseen
        if self.is_coarse(training):
            below, above = self.resolution
            values = values + np.where(_generator(self.key, "ends").random(DRAWS) < 0.5, -below, above)
        return np.clip(values, *self.limits)

    def is_coarse(self, training: bool) -> bool:
        """Whether `draws` of the same argument have the two ends of `resolution`."""
        return any(self.resolution) and not (training and len(self.means) > 1)

    def _unlimited(self, training: bool) -> Floats:
        """Draws without the limits, and without errors that no prompt has shown."""
        values = self._over_prompts
        through_training = self.variances[0]
        if not training or through_training == 0:
            return values
        freedom = len(self.means) - 1
        deviations = _generator(self.key, "training").standard_t(freedom, DRAWS) * math.sqrt(through_training)
        if self.mean <= 0:
            return values + deviations
        # On a log scale an error stays above 0, and a ratio of errors is a difference. exp(±700) is finite.
        return np.asarray(values * np.exp(np.clip(deviations / self.mean, -700, 700)))

    @cached_property
    def _over_prompts(self) -> Floats:
        """Draws of the mean error of these models on other prompts, (DRAWS,). Do not change them."""
        if self.per_prompt is None:
            normal = _generator(self.key, "prompts").standard_normal(DRAWS)
            if self.steps is not None:
                return np.asarray(np.mean([steps.after(normal) for steps in self.steps], axis=0))
            return self.mean + math.sqrt(self.variances[1]) * student_widening(self.prompt_count) * normal
        # Stored means have fewer digits than errors per prompt. Their value stays, deviations are added.
        errors = self.per_prompt.mean(axis=0)
        deviations = _weights(self.prompts, len(errors)) @ (errors - errors.mean()).astype(np.float32)
        return np.asarray(self.mean + _bootstrap_widening(len(errors)) * deviations.astype(np.float64))


def variances(means: Floats, prompt_errors: Floats) -> tuple[Floats, Floats]:
    """Variances of a mean over seeds, through training and through prompts, if errors per prompt are unknown.

    The correlation of seeds over prompts is then unknown. It is taken as full, so that the mean varies as
    much as a single seed. With one seed the variance through training is unknown and returned as 0.

    Args:
        means: mean error of each seed, (S, …).
        prompt_errors: standard error over prompts of each of `means`, (S, …).
    """
    seeds = len(means)
    training = means.var(axis=0, ddof=1) / seeds if seeds > 1 else np.zeros(means.shape[1:])
    return np.asarray(training), np.asarray((prompt_errors**2).mean(axis=0))


def half_width(
    training: npt.ArrayLike, prompts: npt.ArrayLike, seeds: int, prompt_count: float = math.inf
) -> Floats:
    """Half of the width of a 90 % interval.

    The degrees of freedom are estimated as well, and badly from few seeds. In simulations with normal errors
    (400,000 for each cell; 20 to 1,280 prompts; 5, 50 or 95 % of the variance through training), intervals
    cover the true mean in 0.87 to 0.91 of cases with 3 seeds, and in 0.89 to 0.90 with 5. The alternative
    √(t₁² V₁ + t₂² V₂), where t₁ and t₂ are the quantiles for the variances V₁ of seeds and V₂ of prompts,
    covers 0.90 to 0.94 and 0.90 to 0.92. It is up to 22 % and 8 % wider.

    Args:
        training: variance of a mean through training, estimated from `seeds` seeds; 0 with one seed.
        prompts: variance of the mean through prompts, estimated from `prompt_count` prompts.
        seeds: number of seeds.
        prompt_count: number of independent prompts; infinite if their variance is known.
    """
    total = np.add(training, prompts, dtype=float)
    # Welch and Satterthwaite: the inverse degrees of freedom of a sum of estimated variances.
    inverse = np.zeros_like(total)
    for variance, count in ((training, seeds), (prompts, prompt_count)):
        share = np.divide(variance, total, out=np.zeros_like(total), where=total > 0)
        inverse += share**2 / max(count - 1, 1)
    freedom = np.divide(1.0, inverse, out=np.full_like(total, np.inf), where=inverse > 0)
    return np.asarray(student_95(freedom) * np.sqrt(total))


def student_95(freedom: npt.ArrayLike) -> Floats:
    """95 % quantile of Student's t with `freedom` ≥ 1 degrees of freedom, not necessarily whole."""
    inverse = 1 / np.arange(len(_STUDENT_95), 0, -1)
    quantiles = [_NORMAL_95, *reversed(_STUDENT_95)]
    return np.asarray(np.interp(1 / np.asarray(freedom, float), [0.0, *inverse], quantiles))


def student_widening(count: float) -> float:
    """By how much a 90 % interval is wider if the standard error is estimated from `count` values."""
    return float(student_95(max(count - 1, 1))) / _NORMAL_95


def _bootstrap_widening(count: int) -> float:
    """By how much deviations in draws of `count` prompts are multiplied. A single prompt has none."""
    return math.sqrt((count + 1) / (count - 1)) * student_widening(count) if count > 1 else 1.0


def largest_unseen_rate(trials: int) -> float:
    """Upper bound, with 95 % confidence, of the rate of an event that no independent trial has shown.

    It is 1 − 0.05^(1/n), about 3/n: the exact bound of Clopper and Pearson (1934).
    """
    return -math.expm1(math.log(1 - HIGH) / trials)


def interval(draws: Floats) -> tuple[float, float]:
    """Ends of the 90 % interval of drawn values; NaN if more than a tenth of the draws are NaN.

    The ends are draws. If a quantile is between two draws, the outer draw is taken.
    """
    numbers = np.sort(draws[~np.isnan(draws)])
    if len(numbers) < (HIGH - LOW) * len(draws):
        return math.nan, math.nan
    # No interpolation between draws, because draws may be infinite.
    last = len(numbers) - 1
    return float(numbers[math.floor(LOW * last)]), float(numbers[math.ceil(HIGH * last)])


def _interaction(per_prompt: Floats) -> float:
    """Variance σ²(seed × prompt) of errors (S, P): due to neither seed nor prompt alone. 0 with one seed."""
    seeds, prompts = per_prompt.shape
    if seeds == 1 or prompts == 1:
        return 0.0
    rest = per_prompt - per_prompt.mean(axis=0) - per_prompt.mean(axis=1, keepdims=True) + per_prompt.mean()
    return float((rest**2).sum() / ((seeds - 1) * (prompts - 1)))


@lru_cache(maxsize=4)
def _weights(prompts: str, count: int) -> npt.NDArray[np.float32]:
    """Weight of each prompt in every draw, (DRAWS, count): the Bayesian bootstrap (Rubin 1981)."""
    weights = _generator(prompts, "prompts").standard_exponential((DRAWS, count), dtype=np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def _generator(key: str, purpose: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(f"{purpose} {key}".encode()))
