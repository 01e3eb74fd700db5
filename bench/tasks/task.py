"""The base class of tasks: drawing prompts, scoring predictions, and growing prompts during training.

A task is a frozen model of its settings: two tasks with equal fields are the same task. The fields and
`version` are part of a run's identity. A new task is a module with a subclass and a line in
`bench.tasks.TASKS`.

Shapes: B prompts of N points; L tokens; d input coordinates. A point is an in-context example or a query.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import model_validator

from bench.errors import UserError
from bench.frozen import Frozen, identity
from bench.lazy import torch
from bench.tasks.curriculum import Curriculum
from bench.tasks.draws import Draws

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.baselines import Baseline

PROTOCOLS = ("paper", "released_code")
Protocol = Literal["paper", "released_code"]

Metric = Literal["squared_error", "accuracy", "cross_entropy", "total_variation", "kl_divergence"]
"""Kinds of scores. The cross-entropy is in nats per token; its exponential is the perplexity."""


@dataclass(frozen=True)
class Prompts:
    """A batch of prompts.

    Attributes:
        tokens: the model's input, (B, L, width) float32; in a discrete task ids of tokens, (B, L) int64.
        targets: the right predictions at the points, (B, N) or (B, N, n_outputs) float32; in a discrete task
            ids of tokens, (B, N) int64.
        inputs: the inputs that the tokens contain, for baselines, (B, N, d) float32; in a discrete task ids
            of tokens, (B, N, 1) int64, which nothing reads.
        counted: the points that the loss and the scores count, (B, N) bool; None for all.
        more: other tensors that the task's scores and baselines need, by name, with B rows.
    """

    tokens: Tensor
    targets: Tensor
    inputs: Tensor
    counted: Tensor | None = None
    more: Mapping[str, Tensor] = field(default_factory=dict)

    def part(self, rows: slice, device: Any = None) -> Prompts:
        """Some of the prompts, on another device if one is given."""

        def take(value: Tensor) -> Tensor:
            return value[rows] if device is None else value[rows].to(device)

        return self.combined(take)

    def combined(self, function: Callable[..., Tensor], *others: Prompts) -> Prompts:
        """Prompts of `function` of every tensor and of the same tensor of the others."""
        batches = (self, *others)
        return Prompts(
            function(*(batch.tokens for batch in batches)),
            function(*(batch.targets for batch in batches)),
            function(*(batch.inputs for batch in batches)),
            None if self.counted is None else function(*(batch.counted for batch in batches)),
            {name: function(*(batch.more[name] for batch in batches)) for name in self.more},
        )


class Evaluation(NamedTuple):
    """The meaning of a list of scores by position. No prompt has to be drawn for it.

    Attributes:
        positions: for each column the number of points before it in the prompt.
        marks: columns that have a name, {"last": 40}.
        error_scale: divisor of raw errors, so that the trivial predictor scores 1.
        axis: the quantity that `positions` counts.
        metric: of the scores, if it is not the task's.
        trivial: expected raw score of a predictor that has learned nothing, by column, if it is not the
            task's; only for an accuracy.
    """

    positions: tuple[int, ...]
    marks: Mapping[str, int]
    error_scale: float
    axis: str = "in-context examples"
    metric: Metric | None = None
    trivial: tuple[float, ...] | None = None

    def facts(self) -> dict[str, Any]:
        """The fields for a result file."""
        return {name: value for name, value in self._asdict().items() if value is not None}


class LongerEvaluation(NamedTuple):
    """An evaluation on longer prompts than those of training, at the end of a run.

    Attributes:
        task: the task with longer prompts. It draws them, and its main evaluation scores them.
        columns: the columns of that main evaluation that are kept.
        description: the meaning of the kept columns.
    """

    task: Task
    columns: tuple[int, ...]
    description: Evaluation


class Settled(NamedTuple):
    """A difference between text and released code that the protocol does not decide.

    The field's default holds under both protocols. A suite can set either value by name.
    """

    paper: Any
    released_code: Any
    why: str


MOST_POINTS = 100_000
"""Largest number of points of a prompt, and of coordinates of an input. Far more than can be trained."""

MAIN, SELECTION = "report", "selection"
"""Names of a task's main evaluation on the test prompts, and on the validation prompts. Learning rates are
chosen on the validation prompts."""
LONGER = "longer_prompts"
"""Name of the evaluation on prompts with more points than those of training."""


class Task(Frozen):
    """What is learned in context: prompts, the score of predictions, and what they are compared with.

    A subclass states `name` and its settings as fields, `n_inputs`, `n_outputs` if it is not 1, and `length`;
    `sample` draws prompts, `losses` and `scores` compare predictions with targets, and `baselines` lists the
    predictors to compare a model with. Everything else has a default. `bench.tasks.in_context.InContext` and
    `bench.tasks.tokens.Answers` define most of this for two common kinds of prompts.
    """

    title: ClassVar[str] = ""
    """The name for people, in reports and figures; empty for the name in words."""
    version: ClassVar[int] = 1
    """Must be raised if the same fields give other numbers than before."""
    metric: ClassVar[Metric] = "squared_error"
    discrete: ClassVar[bool] = False
    """Whether tokens are ids below `n_inputs`, which the model reads by an embedding, and not vectors."""
    example_fields: ClassVar[Mapping[str, Any]] = {}
    """Values of the fields without a default, for commands that show or time a task."""
    protocol_fields: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Where the paper's text and the authors' released code differ: {field: {protocol: value}}."""
    settled_fields: ClassVar[Mapping[str, Settled]] = {}
    """Differences between the two for which one value is the default under both protocols."""
    convergence_accuracy: ClassVar[float | None] = None
    """Mean accuracy at which the task counts as learned (Figure 7)."""
    validation: ClassVar[tuple[str, str] | None] = None
    """The set of prompts and the evaluation on it whose mean is the validation loss; None without one."""
    training_evaluation: ClassVar[str | None] = None
    """The evaluation whose score is the loss in training; None where training has no score."""
    other_evaluations: ClassVar[tuple[str, ...]] = ()
    """Further evaluations, each on its own set of prompts."""
    most_evaluation_prompts: ClassVar[int | None] = None
    """Prompts of an evaluation set that exist; None if they are drawn without end."""
    evaluated_together: ClassVar[int] = 64
    """Prompts that a model reads at once in an evaluation."""
    independent_prompts: ClassVar[bool] = False
    """Whether every draw of `batch` has a row for each prompt, and a prompt depends on its own rows alone.

    Then `batch` can draw the prompts of several seeds in one pass (`joins_seeds`). Its `size` counts those of
    all seeds, so nothing else may depend on it. The value holds for the class that states it, and not for
    subclasses, which may draw in another way."""

    name: str
    curriculum: Curriculum | None

    @property
    def dependent_prompts(self) -> int:
        """How many consecutive evaluation prompts share one hidden function. Errors count them as one."""
        return 1

    @model_validator(mode="after")
    def _size_is_possible(self) -> Self:
        for name in ("n_points", "n_dims"):
            if getattr(self, name, 0) > MOST_POINTS:
                raise ValueError(f"{name} is at most {MOST_POINTS}")
        return self

    @classmethod
    def example(cls) -> Self:
        """The task with its defaults, and with `example_fields` where there is no default."""
        return cls.model_validate(dict(cls.example_fields))

    if TYPE_CHECKING:  # a field of most tasks, a property of some

        @property
        def n_dims(self) -> int:
            """Coordinates of an input."""

        @property
        def n_points(self) -> int:
            """Points in a prompt."""

    @property
    @abstractmethod
    def n_inputs(self) -> int | tuple[int, ...]:
        """Width of an input token; a width per kind if a prompt alternates between kinds of tokens.

        In a discrete task it is the number of different tokens.
        """

    @property
    def n_outputs(self) -> int:
        """Width of one prediction."""
        return 1

    @property
    def error_scale(self) -> float:
        """Divisor of raw errors, so that the trivial predictor scores 1; 1 for accuracy."""
        return 1.0

    @property
    def trivial(self) -> float:
        """Expected raw score of a predictor that has learned nothing. A task scored by accuracy states it."""
        return self.error_scale

    @property
    def headline(self) -> str | None:
        """The mark whose score figures against FLOPs show and learning rates are chosen by.

        None: the mean over positions.
        """
        return None

    @property
    def first_position(self) -> int:
        """The first position that means over positions include; 1 leaves out the zero-shot prediction."""
        return 0

    @abstractmethod
    def length(self, n_points: int) -> int:
        """Tokens in a prompt of `n_points` points."""

    @property
    def full_length(self) -> int:
        """Tokens in a prompt of all points."""
        return self.length(self.n_points)

    @property
    def flops_length(self) -> int:
        """Tokens per prompt that FLOPs count: those of a full prompt, or the mean if prompts differ."""
        return self.full_length

    def points_at(self, step: int) -> int:
        """Points counted by the loss at optimisation step `step`."""
        return self.curriculum.points.at(step, self.n_points) if self.curriculum else self.n_points

    def evaluations(self) -> dict[str, Evaluation]:
        """The evaluations of every checkpoint, the main one first."""
        last = self.n_points - 1
        return {MAIN: Evaluation(tuple(range(self.n_points)), {"last": last}, self.error_scale)}

    def longer_evaluations(self) -> dict[str, LongerEvaluation]:
        """The evaluations on longer prompts, for models that are defined there; none for most tasks.

        They are no part of a run's identity, because they do not affect its training or its other scores.
        """
        return {}

    def lengthened(self, **fields: int) -> Self | None:
        """The task with other values of the fields that set the prompts' length; None if they are refused."""
        try:
            return type(self).model_validate({**self.model_dump(), **fields})
        except ValueError:
            return None

    @abstractmethod
    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        """Draw `batch` prompts, with device operations of fixed shapes only.

        Args:
            draws: the random numbers. The prompts are on their device.
            batch: number of prompts.
            n_dims: number of coordinates that are not zero (curriculum); None for all.
        """

    def draw_prompts(self, count: int, seed: int = 0) -> Prompts:
        """Draw prompts at full size, on the CPU. No training and no evaluation uses this stream.

        Args:
            count: number of prompts.
            seed: of the prompts. The first prompts of a seed do not depend on `count`.

        Raises:
            UserError: `count` is no whole number above 0, or the seed is no whole number.
        """
        for name, value, lowest in (("count", count, 1), ("seed", seed, 0)):
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                raise UserError(f"{name}: expected a whole number of at least {lowest}, got {value!r}")
        return self.sample(Draws(seed, "drawn by hand", torch.zeros((), dtype=torch.int64)), count)

    def sample_evaluation(self, draws: Draws, count: int, evaluation: str = MAIN) -> Prompts:
        """Draw the `count` prompts of the main evaluation or of one of `other_evaluations`."""
        return self.sample(draws, count)

    @abstractmethod
    def losses(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Training loss per prompt and position, (B, N), from model outputs (B, L, n_outputs)."""

    @abstractmethod
    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """The reported score (`metric`) per prompt and position, (B, N)."""

    @abstractmethod
    def baselines(self, prompts: Prompts) -> list[Baseline]:
        """The floor, the trivial predictor and practical baselines on these prompts."""

    def other_baselines(self, prompts: Prompts, evaluation: str) -> list[Baseline]:
        """`baselines` on the prompts of one of `other_evaluations`."""
        return []

    def measure(self, predict: Callable[[Tensor], Tensor], prompts: Prompts, name: str) -> dict[str, Tensor]:
        """Scores of a model on the prompts of evaluation `name`, (B, columns), by evaluation.

        Args:
            predict: tokens (B, L, width) → outputs (B, L, n_outputs); shorter prompts are allowed.
            prompts: drawn by `sample_evaluation`.
            name: name of the evaluation. Several evaluations may use one set of prompts.
        """
        columns = torch.tensor(self.evaluations()[name].positions, device=prompts.tokens.device)
        return {name: self.scores(predict(prompts.tokens), prompts)[:, columns]}

    def measure_selection(self, predict: Callable[[Tensor], Tensor], prompts: Prompts) -> dict[str, Tensor]:
        """`measure` on the prompts that learning rates are chosen on. A task may leave out evaluations there.

        The main evaluation is needed, and that of the validation loss if `validation` is on these prompts.
        """
        return self.measure(predict, prompts, MAIN)

    def measure_columns(
        self, predict: Callable[[Tensor], Tensor], prompts: Prompts, columns: Sequence[int]
    ) -> Tensor:
        """Scores of a model at some columns of the main evaluation, (B, len(columns)); see `measure`."""
        return self.measure(predict, prompts, MAIN)[MAIN][:, list(columns)]

    def positions_per_column(self, prompts: Prompts, name: str) -> Tensor | None:
        """Numbers of scored positions in every column of evaluation `name`, (B, columns).

        None if every column is one position. Otherwise `measure` returns sums over the positions of each
        column, and reported means are means over all positions (`bench.tasks.weighted`).
        """
        return None

    def loss_weights(self, prompts: Prompts, step: Tensor) -> Tensor:
        """Weight of every point in the loss at `step`, (B, N): 1 if it counts, else 0."""
        size = prompts.targets.shape[:2]
        device = prompts.targets.device
        counts = torch.ones(size, device=device) if prompts.counted is None else prompts.counted.float()
        if self.curriculum is None:
            return counts
        shown = self.curriculum.points.on_device(step, self.n_points)
        return counts * (torch.arange(self.n_points, device=device) < shown)

    def loss_sum(
        self, outputs: Tensor, prompts: Prompts, step: Tensor, weights: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sum and number of the losses that count at `step`. The training loss is their quotient.

        A batch that is computed in parts adds up both before the division.

        Args:
            outputs: (B, L, n_outputs).
            prompts: the prompts.
            step: number of the optimisation step.
            weights: of `loss_weights`, if the caller has computed them.
        """
        if weights is None:
            weights = self.loss_weights(prompts, step)
        return torch.where(weights > 0, self.losses(outputs, prompts), 0.0).sum(), weights.sum()

    def batch(self, draws: Draws, size: int) -> Prompts:
        """Training prompts for `draws.step`, with the curriculum's dimensions.

        Args:
            draws: the random numbers.
            size: number of prompts, of all seeds of the draws together.
        """
        if self.curriculum is None or self.curriculum.dims is None:
            return self.sample(draws, size)
        return self.sample(draws, size, self.curriculum.dims.on_device(draws.step, self.n_dims))

    @property
    def joins_seeds(self) -> bool:
        """Whether `batch` takes draws of several seeds, and gives each the prompts that it has alone."""
        return "independent_prompts" in vars(type(self)) and self.independent_prompts

    def windows_per_stream(self, size: int) -> int | None:
        """Steps after which `windows` starts again from the beginning; None for a task without streams.

        A stream is one long text. A model that carries its state reads `size` streams side by side, a window
        of each per step.
        """
        return None

    def windows(self, draws: Draws, size: int) -> Prompts:
        """Training prompts for `draws.step`: the next window of `size` streams, a stream per row.

        Raises:
            NotImplementedError: the task has no streams.
        """
        raise NotImplementedError(f"task '{self.name}' has no streams")

    def batch_length(self, seed: int, step: int, size: int) -> int:
        """Tokens of the training batch of `step` that are computed. Later tokens are padding.

        The host computes it without the device, because a captured step has a graph for every length. There
        should be few different lengths.
        """
        return self.full_length

    def cut(self, prompts: Prompts, length: int) -> Prompts:
        """The prompts without their tokens from `length` on, for a `batch_length` of this task."""
        return prompts

    def trimmed(self, prompts: Prompts) -> Prompts:
        """The prompts without padding at their end, which no score or loss counts.

        The shape then depends on values, so the host waits for the device.
        """
        return prompts

    def identity(self) -> dict[str, Any]:
        """Every field that affects prompts or scores, for hashing and for the record."""
        return {"version": self.version, **identity(self)}
