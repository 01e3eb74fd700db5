"""The word problem of a finite group: a test of state tracking (Merrill, Petty & Sabharwal 2024)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks.baselines import Baseline, Kind, records
from bench.tasks.curriculum import Curriculum
from bench.tasks.draws import Draws
from bench.tasks.groups import Group, derived_subgroup, elements, generators, multiplication_table
from bench.tasks.longer import longer_by_position
from bench.tasks.prefixes import prefix_products
from bench.tasks.task import MAIN, SELECTION, Evaluation, LongerEvaluation, Metric, Prompts
from bench.tasks.tokens import CROSS_ENTROPY, NextToken

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "prefix_accuracy"
LONGER_FACTORS = (2, 4, 8)
"""Lengths of longer prompts, in multiples of the trained length."""
WINDOW = 8
"""Elements that the baseline with a short memory multiplies."""


class WordProblem(NextToken):
    """The product of all group elements so far, at every element.

    One prompt of the group S3, whose elements are permutations of 0, 1, 2 in the order of their images::

        element    1 = (0 2 1)   2 = (1 0 2)   2 = (1 0 2)   4 = (2 0 1)
        product    1 = (0 2 1)   4 = (2 0 1)   1 = (0 2 1)   2 = (1 0 2)

    Elements are uniform and independent. p_t = p_{t−1}·g_t, with (a·b)(i) = a(b(i)). A token is the number of
    an element, and so is a target. Any p_t is equally likely given g₁ … g_{t−1}, so a model that forgets has
    the accuracy 1/|G|. The prompt determines every product, so the ceiling is 1.

    A model has |G|² products of two elements to learn. With `alphabet: generators` these are few: an element
    of the prompt is the identity or one of the group's generators (`bench.tasks.groups`), as Grazzi et al.
    (2024) restrict S5 to some of its elements. Products are then uniform only after many elements: those of
    the first few are easier to guess. A generator of S3, A5 or S5 is the product of at most two reflections,
    except the cycle of five points in S5, which takes four.

    Groups: Z2 (parity), Z5 (sums modulo 5), S3, three groups of 60 elements (Z60 commutative, A4xZ5
    solvable, A5 not solvable), and S5, of 120. The word problem of a group that is not solvable is complete
    for NC¹ (Barrington 1989); those of solvable groups are easier. Transformers and state-space models with
    diagonal transitions and logarithmic precision are in TC⁰. Unless TC⁰ = NC¹, they cannot solve it at
    every length (Merrill, Petty & Sabharwal 2024, "The illusion of state in state-space models").

    Every element has a target, so a prompt of L elements contains one of each length up to L, and the trained
    lengths are uniform on 1 … L. With a `curriculum` of points, L grows during training, as in the protocol
    of Mamba-3 (2026, Appendix D): lengths are uniform on 3 … 40 at first, on 3 … 160 in the end. Scores are
    those of full prompts.

    Scores, by the number of elements before: `report` is the accuracy, `cross_entropy` is in nats, and
    `prefix_accuracy` is the share of prompts where all products so far are right: |G|^−t after t elements for
    a random element. `longer_prompts` has prompts of up to 8 times the trained length.
    """

    metric: ClassVar[Metric] = "accuracy"
    validation: ClassVar[tuple[str, str] | None] = (SELECTION, CROSS_ENTROPY)
    later_fields: ClassVar[Mapping[str, Any]] = {"alphabet": "elements"}
    independent_prompts: ClassVar[bool] = True

    name: Literal["word_problem"] = "word_problem"
    group: Group = "S3"
    alphabet: Literal["elements", "generators"] = "elements"
    n_points: PositiveInt = 16
    curriculum: Curriculum | None = None  # type: ignore[assignment]

    @model_validator(mode="after")
    def _elements_have_no_coordinates(self) -> Self:
        if self.curriculum is not None and self.curriculum.dims is not None:
            raise ValueError("elements have no coordinates that could grow: leave out dims of the curriculum")
        return self

    @property
    def vocabulary(self) -> int:
        """The elements of the group."""
        return len(elements(self.group))

    @property
    def trivial(self) -> float:
        """Accuracy of a random element."""
        return 1 / self.vocabulary

    def evaluations(self) -> dict[str, Evaluation]:
        main = Evaluation(tuple(range(self.n_points)), {"last": self.n_points - 1}, 1.0, "elements before")
        return {
            MAIN: main,
            CROSS_ENTROPY: main._replace(error_scale=self.uniform_cross_entropy, metric="cross_entropy"),
            PREFIX: main._replace(
                metric="accuracy", trivial=tuple(self.trivial ** (1 + before) for before in main.positions)
            ),
        }

    def longer_evaluations(self) -> dict[str, LongerEvaluation]:
        return longer_by_position(self, LONGER_FACTORS)

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        device = draws.step.device
        if self.alphabet == "generators":
            letters = _generators(self.group, device)
            words = letters[draws.integers("element", len(letters), batch, self.n_points)]
        else:
            words = draws.integers("element", self.vocabulary, batch, self.n_points)
        table = _table(self.group, device)
        products = prefix_products(words, lambda a, b: table[a, b])
        return Prompts(words, products, words.unsqueeze(-1))

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        return (outputs.argmax(dim=-1) == prompts.targets).float()

    def measure(self, predict: Callable[[Tensor], Tensor], prompts: Prompts, name: str) -> dict[str, Tensor]:
        outputs = predict(prompts.tokens)
        right = self.scores(outputs, prompts)
        return {MAIN: right, CROSS_ENTROPY: self.losses(outputs, prompts), PREFIX: right.cumprod(dim=1)}

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        """A uniform guess, the product, and two rules that know a part of it.

        The class of p_t in the largest commutative quotient G/G′ depends only on how often each element has
        occurred. A predictor that counts elements, but ignores their order ("commutative part"), chooses
        among the |G′| elements of the class.
        """
        order, class_size = self.vocabulary, len(derived_subgroup(self.group))
        baselines = [
            *self._guesses("uniform guess", "trivial", prompts, order),
            *self._products("product of the prompt", "floor", prompts, self.n_points),
        ]
        if self.n_points > WINDOW:
            name = f"product of the last {WINDOW} elements"
            baselines += self._products(name, "baseline", prompts, WINDOW)
        if 1 < class_size < order:  # otherwise it is the floor or the uniform guess
            baselines += self._guesses("commutative part", "baseline", prompts, class_size)
        return baselines

    def _guesses(self, name: str, kind: Kind, prompts: Prompts, choices: int) -> list[Baseline]:
        """Guess one of `choices` elements, among which the right one is."""
        started = time.perf_counter()
        ones = torch.ones(prompts.targets.shape, dtype=torch.float64)
        scores = {
            MAIN: ones / choices,
            CROSS_ENTROPY: ones * math.log(choices),
            PREFIX: (ones / choices).cumprod(dim=1),
        }
        return records(name, kind, scores, started)

    def _products(self, name: str, kind: Kind, prompts: Prompts, window: int) -> list[Baseline]:
        """Predict the product of the last `window` elements. It has a cross-entropy if it is always right."""
        started = time.perf_counter()
        table = _table(self.group, prompts.tokens.device)
        products = torch.zeros_like(prompts.tokens)
        for ago in range(min(window, self.n_points)):  # one more earlier element at every position
            earlier = prompts.tokens[:, : self.n_points - ago]
            products[:, ago:] = table[earlier, products[:, ago:]]
        right = (products == prompts.targets).double()
        scores = {MAIN: right, PREFIX: right.cumprod(dim=1)}
        if bool(right.all()):
            scores[CROSS_ENTROPY] = torch.zeros_like(right)
        return records(name, kind, scores, started)


@cache  # not a bounded cache: a captured step reads the tensor at its address
def _table(group: Group, device: torch.device) -> Tensor:
    """The multiplication table, (|G|, |G|) int64, on the device."""
    return torch.tensor(multiplication_table(group), device=device)


@cache
def _generators(group: Group, device: torch.device) -> Tensor:
    """The numbers of the identity and of the generators, int64, on the device."""
    return torch.tensor(generators(group), device=device)
