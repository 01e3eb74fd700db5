"""Linear regression among outliers (paper §3.2.2): pairs that do not follow w, which a model must ignore.

Each pair of a prompt is replaced by an outlier with probability p, independently. Outliers count neither in
the loss nor in a score. Their positions are random in training and fixed in evaluation, so that every
evaluation prompt has equally many clean pairs before a position:

    text, p = 0.5        o c o c o c …        clean at 1, 3, …, 99        the 50th at 99
    text, p = 0.9        o×9 c o×9 c …        clean at 9, 19, …           the 50th at 499
    code, p = 0.5        c c o c o c o …      clean at 0, 1, 3, …, 99
    code, p = 0.9        o×10 c c c c …       ten outliers, then clean pairs only

`evaluation_pattern` selects one. A second evaluation, "clean_prompts", has no outliers (Figure 3, right).
Scores are reported at the 50th clean pair, as in the paper: 49 clean pairs precede it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks import baselines as predictors
from bench.tasks import outlier_baselines as outlier_predictors
from bench.tasks.draws import Draws
from bench.tasks.in_context import interleave
from bench.tasks.regression import LinearRegression
from bench.tasks.task import MAIN, Evaluation, Prompts

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.baselines import Baseline


CLEAN = "clean_prompts"
"""Name of the evaluation on prompts without outliers."""
REPORTED_PAIR = 50
"""The paper reports the error at the 50th clean pair, counted from 1."""


class OutlierRegression(LinearRegression):
    """The base of both tasks: w, clean pairs, and the pairs that are replaced.

    ::

        token     x₁   y₁    o    o′   x₃   y₃   …        a pair (o, o′) replaces (x₂, y₂)
        counted   yes        no        yes

    While the curriculum shows only some coordinates, the others are zero in clean inputs but not in outliers.
    """

    other_evaluations: ClassVar[tuple[str, ...]] = (CLEAN,)
    protocol_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "evaluation_pattern": {"paper": "paper", "released_code": "released_code"}
    }

    outlier_probability: float = Field(gt=0.0, lt=1.0, description="p: probability that a pair is replaced.")
    evaluation_pattern: Literal["paper", "released_code"] = "paper"

    @model_validator(mode="after")
    def _some_are_clean(self) -> Self:
        if not self.clean_positions():
            raise ValueError(
                f"no pair of {self.n_points} is clean in evaluation with p = {self.outlier_probability:g}: "
                "more n_points are needed"
            )
        return self

    @property
    def headline(self) -> str | None:
        """The 50th clean pair; the last clean pair of prompts with fewer."""
        return "50th_clean" if len(self.clean_positions()) >= REPORTED_PAIR else "last"

    def clean_positions(self) -> tuple[int, ...]:
        """Positions of the clean pairs in an evaluation prompt, from 0."""
        p, n = self.outlier_probability, self.n_points
        if self.evaluation_pattern == "paper":
            before = max(1, round(p / (1 - p)))  # outliers before every clean pair
            return tuple(range(before, n, before + 1))
        # The released evaluation marks every `gap`th pair from `first` on. The marked pairs are the outliers
        # if p ≤ 0.5, else the clean pairs.
        first, gap = int(1 // min(p, 1 - p)), n // max(1, int(n * p))
        marked = set(range(first, n, max(1, gap)))
        return tuple(i for i in range(n) if (i in marked) == (p > 0.5))

    def evaluations(self) -> dict[str, Evaluation]:
        return {
            MAIN: self._evaluation(self.clean_positions()),
            CLEAN: self._evaluation(tuple(range(self.n_points))),
        }

    def _evaluation(self, positions: tuple[int, ...]) -> Evaluation:
        marks = {"50th_clean": REPORTED_PAIR - 1, "after_50_clean": REPORTED_PAIR, "last": len(positions) - 1}
        present = {name: column for name, column in marks.items() if column < len(positions)}
        return Evaluation(positions, present, self.error_scale, axis="pairs before, outliers included")

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        clean = draws.uniform("outlier", batch, self.n_points) >= self.outlier_probability
        return self._prompts(draws, batch, clean, n_dims)

    def sample_evaluation(self, draws: Draws, count: int, evaluation: str = MAIN) -> Prompts:
        positions = self.evaluations()[evaluation].positions
        clean = torch.tensor([i in positions for i in range(self.n_points)], device=draws.step.device)
        return self._prompts(draws, count, clean.expand(count, -1), None)

    def _prompts(self, draws: Draws, batch: int, clean: Tensor, n_dims: int | Tensor | None) -> Prompts:
        """Prompts whose pairs are outliers where `clean` (B, N) is false."""
        inputs, weights = self.sample_inputs(draws, batch, n_dims), self.weights(draws, batch)
        targets = (inputs.to(torch.float64) @ weights).to(torch.float32)
        pairs = interleave(inputs, targets.squeeze(-1)).view(batch, self.n_points, 2, self.n_dims)
        pairs = torch.where(clean[..., None, None], pairs, self.outliers(draws, weights))
        tokens = pairs.view(batch, 2 * self.n_points, self.n_dims)
        values = pairs[:, :, 1]
        return Prompts(tokens, values[..., 0], pairs[:, :, 0], counted=clean, more={"values": values})

    def other_baselines(self, prompts: Prompts, evaluation: str) -> list[Baseline]:
        """Clean prompts are linear regression: least squares is Bayes-optimal."""
        return [predictors.trivial(self, prompts), outlier_predictors.clean_least_squares(prompts)]

    @abstractmethod
    def outliers(self, draws: Draws, weights: Tensor) -> Tensor:
        """The vectors that replace x and y: float32 of a shape that broadcasts to (B, N, 2, d).

        Args:
            draws: random numbers of the batch.
            weights: w of each prompt, (B, d, 1) float64.
        """


class OrthogonalOutlierRegression(OutlierRegression):
    """Outliers from a plane orthogonal to w: x and y are both random combinations of two vectors u, v.

    ::

        o  = (a u + b v) / (a² + b²)          a, b, a′, b′ ~ N(0, 1), drawn for every pair
        o′ = (a′u + b′v) / (a′² + b′²)        u, v = two normal vectors without their part along w

    One prompt for d = 3, N = 3 and w = (0, 0, 1), where the second pair has u = (1, 0, 0), v = (0, 1, 0),
    a = b = 1, a′ = 0 and b′ = 2::

        x₁ = (2, 1, 4)   y₁ = (4, 0, 0)   o = (½, ½, 0)   o′ = (0, ½, 0)   x₃ = (5, 3, −1)   y₃ = (−1, 0, 0)

    A model can recognise an outlier by its y, which has d non-zero coordinates. An outlier shows two
    directions that are orthogonal to w: after one outlier, c clean pairs leave max(0, 1 − c/18) of the
    variance.

    The released code differs: its plane is orthogonal to another w (`plane: unrelated`), every outlier of a
    prompt is the same vector (`coefficients: per_prompt`), x and y have different planes (`directions:
    separate`), and v is made orthogonal to u (`basis: orthogonal`). Its `divisor` is "overwritten": the code
    replaces a by a/(a² + b²) before it computes the divisor of b. "root" divides by √(a² + b²) instead,
    because outliers of the text have no second moment.
    """

    title: ClassVar[str] = "Orthogonal-outlier regression"
    protocol_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "plane": {"paper": "prompt", "released_code": "unrelated"},
        "coefficients": {"paper": "per_pair", "released_code": "per_prompt"},
        "directions": {"paper": "shared", "released_code": "separate"},
        "basis": {"paper": "as_drawn", "released_code": "orthogonal"},
        "divisor": {"paper": "square", "released_code": "overwritten"},
        **OutlierRegression.protocol_fields,
    }
    independent_prompts: ClassVar[bool] = True

    name: Literal["orthogonal_outlier_regression"] = "orthogonal_outlier_regression"  # type: ignore[assignment]
    n_dims: PositiveInt = Field(default=20, ge=3)
    n_points: PositiveInt = 101
    outlier_probability: float = Field(default=0.5, gt=0.0, lt=1.0)
    plane: Literal["prompt", "unrelated"] = "prompt"
    coefficients: Literal["per_pair", "per_prompt"] = "per_pair"
    directions: Literal["shared", "separate"] = "shared"
    basis: Literal["as_drawn", "orthogonal"] = "as_drawn"
    divisor: Literal["square", "root", "overwritten"] = "square"

    def outliers(self, draws: Draws, weights: Tensor) -> Tensor:
        batch, pairs = len(weights), self.n_points if self.coefficients == "per_pair" else 1
        # With z = a − ib as one complex number, 1/z = (a + ib)/(a² + b²) and sgn z = z/√(a² + b²).
        z = torch.view_as_complex(draws.normal("coefficients", batch, 2, pairs, 2, double=True))
        factors = torch.view_as_real(z.sgn() if self.divisor == "root" else z.reciprocal())
        if self.divisor == "overwritten":
            first, b = factors[..., 0], -z.imag
            factors = torch.stack((first, b / (first.square() + b.square())), dim=-1)
        planes = self.planes(draws, weights)
        vectors = factors.view(batch * planes.shape[1], -1, 2) @ planes.flatten(0, 1)
        return vectors.to(torch.float32).view(batch, 2, pairs, self.n_dims).transpose(1, 2)

    def planes(self, draws: Draws, weights: Tensor) -> Tensor:
        """The vectors u and v whose combinations replace x and y.

        Returns:
            (B, 2, 2, d) float64: a pair for x and a pair for y; (B, 1, 2, d) if both use the same pair.
        """
        batch, count = len(weights), 1 if self.directions == "shared" else 2
        vectors = draws.normal("plane", batch, count, 2, self.n_dims, double=True)
        if self.plane == "unrelated":
            weights = draws.normal("plane's w", batch, count, self.n_dims, 1, double=True).flatten(0, 1)
        elif count == 2:
            weights = weights.repeat_interleave(2, dim=0)
        vectors = _orthogonal(vectors.flatten(0, 1), weights)
        if self.basis == "orthogonal":
            u, v = vectors[:, :1], vectors[:, 1:]
            vectors = torch.cat((u, _orthogonal(v, u.mT)), dim=1)
        return vectors.view(batch, count, 2, self.n_dims)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        if self.plane == "unrelated":  # outliers carry no information about w
            return [predictors.trivial(self, prompts), outlier_predictors.clean_least_squares(prompts)]
        return [
            predictors.trivial(self, prompts),
            outlier_predictors.orthogonal_least_squares(prompts),
            outlier_predictors.clean_least_squares(prompts, kind="baseline"),
        ]


class ManyOutlierRegression(OutlierRegression):
    """Outliers that are all equal: x = (1, …, 1), y = (1, 0, …, 0), nine pairs of ten.

    One prompt for d = 2, N = 3, the second pair replaced::

        x₁ = (2, 1)   y₁ = (1, 0)   (1, 1)   (1, 0)   x₃ = (1, 4)   y₃ = (−3, 0)

    c clean pairs leave max(0, 1 − c/d) of the variance. The released configuration trains for 1,000,000
    steps, the text for 500,000; a suite chooses.
    """

    title: ClassVar[str] = "Many-outlier regression"
    independent_prompts: ClassVar[bool] = True
    name: Literal["many_outlier_regression"] = "many_outlier_regression"  # type: ignore[assignment]
    n_points: PositiveInt = 512
    outlier_probability: float = Field(default=0.9, gt=0.0, lt=1.0)

    @model_validator(mode="before")
    @classmethod
    def _default_curriculum(cls, values: Any) -> Any:
        """The released configuration's ramps. That of points is faster than in other tasks.

        One more dimension every 2000 steps, from 4: all 20 at step 32,000. Two more points every 200 steps,
        from 12: all 512 at step 50,000.
        """
        if isinstance(values, Mapping) and "curriculum" not in values:
            points = {"start": 12, "increment": 2, "every": 200}
            return {**values, "curriculum": {"dims": {"start": 4, "increment": 1}, "points": points}}
        return values

    def outliers(self, draws: Draws, weights: Tensor) -> Tensor:
        # 1 in all coordinates of x and in the first of y, as one comparison of the numbers 0 … 2d − 1
        number = torch.arange(2 * self.n_dims, device=weights.device).view(2, self.n_dims)
        return (number <= self.n_dims).to(torch.float32)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        return [
            predictors.trivial(self, prompts),
            outlier_predictors.clean_least_squares(prompts),
            outlier_predictors.indiscriminate_least_squares(prompts),
        ]


def _orthogonal(vectors: Tensor, direction: Tensor) -> Tensor:
    """The part of `vectors` (P, n, d) that is orthogonal to `direction` (P, d, 1)."""
    share = (vectors @ direction) / (direction.mT @ direction)
    return torch.baddbmm(vectors, share, direction.mT, alpha=-1.0)
