"""Results as types: the contents of a result file, checked once when it is read.

The name of a file is for people and is never parsed. Format 1, one JSON object per file:

    {"format": 1, "kind": "run", "id": "…", "outcome": "finished" | "diverged", "reason": null | "…",
     "run": {every field that affects the numbers},
     "facts": {"metric", "error_scale", "trivial", "n_points", "length", "task_id",
               "headline", "convergence_accuracy",
               "evaluations": {name: {"positions", "marks", "error_scale", "axis", "metric" of another
                                      kind than the task's}},
               "parameters", "table_parameters", "size_group"},
     "checkpoints": [{"step", "training_flops", "training_flops_full_length",
                      "evaluations": {"report":    {"mean": [per position], "standard_error": [per position],
                                                    "overall": [mean, standard error], "headline": […]},
                                      "selection": {"overall": [mean, standard error], "headline": […]},
                                      others of the task, as "report",
                                      at the last checkpoint those on longer prompts, as "report"},
                      "validation_loss", "tested_step" of a run that tests its best checkpoint}],
     "not_evaluated": {name of an evaluation on longer prompts: why it is left out},
     "convergence_step": step of the first checkpoint at "convergence_accuracy", or null; with a stop rule,
                         step of the first check at which the model had converged (on the validation prompts),
     "stop": {"step", "converged_step"} of a finished run with a stop rule: its real last step,
     "per_prompt": {"report": base64 of float32: each prompt's headline score at the last checkpoint},
     "prompts": {"report": {"count", "sha256"}, "selection": {…}, …},
     "curve": {"step": [...], "loss": [...], "gradient_norm": [...]},
     "provenance": {where, when, how fast, with what}}

    {"format": 1, "kind": "baselines", "id": "…", "task": {…}, "facts": {…}, "prompts": {…},
     "baselines": [{"name", "kind", "evaluation", "positions", "mean", "standard_error", "prompts",
                    "seconds", "overall": [mean, standard error], where it is not the mean of "mean"}],
     "provenance": {…}}

The headline is the score that a run is judged by: the mean over positions ("overall"), or the score at one
mark. The oldest results lack "headline", "convergence_step" and "evaluations": their headline is "overall",
and their positions are 0 … n_points − 1. Later ones lack only the evaluations on longer prompts.

Scores are raw (`metric`: squared error, accuracy, cross-entropy and KL divergence in nats, total variation).
Dividing by `error_scale`, choosing learning rates and drawing frontiers happen when a report is made.
Everything outside `provenance` (and a baseline's `seconds`) is a function of `run` on one kind of machine. An
id is the digest of `run`, so a file whose run was edited no longer fits its id.
"""

from __future__ import annotations

import binascii
import itertools
import math
import struct
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bench.run import Seed, Stop
from bench.tasks.task import MAIN as MAIN
from bench.tasks.task import SELECTION as SELECTION
from bench.tasks.task import Metric

if TYPE_CHECKING:
    import numpy as np

FORMAT = 1

ROUNDING = 1e-4
"""Relative rounding of a recorded score, which has five significant digits, and a margin."""
FLOAT32_ROUNDING = 1e-6
"""Relative rounding of a score of one prompt, and a margin."""
FLOAT32_SMALLEST = 1.2e-38
"""Below it, a score of one prompt has fewer digits, or is 0."""

Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
"""A score and its standard error over prompts."""
Whole = Annotated[int, Field(ge=-(2**53), le=2**53)]
"""A whole number that every reader can hold."""
Count = Annotated[int, Field(ge=1, le=2**53)]
Flops = Annotated[int, Field(ge=1, le=10**40)]
Seconds = Annotated[float, Field(ge=0, le=2e11)]
"""A duration, or a time since 1970 that the calendar has."""


class Part(BaseModel):
    """Base of every part of a record. Types are those of JSON; unknown fields are ignored."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


class Named(Part):
    """A task, an architecture or an optimizer: its name, and its settings as they were recorded."""

    model_config = ConfigDict(extra="allow")

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        """All fields but the name. What a field means depends on the definition, which may be a plugin's."""
        return dict(self.model_extra or {})


class RecordedSize(Part):
    """The size of a model: layers, nominal width, attention heads."""

    layers: Count
    width: Count
    heads: Count | None


class RecordedRun(Part):
    """What was trained: the fields of `bench.run.Run` that readers need."""

    task: Named
    architecture: Named
    size: RecordedSize
    learning_rate: float = Field(gt=0)
    clip: float = Field(gt=0)
    optimizer: Named
    batch_size: Count
    steps: Count
    checkpoints: list[Count]
    seed: Seed
    precision: str
    evaluation_prompts: Count
    stop: Stop | None = None
    tested_checkpoint: str = "last"


class RecordedEvaluation(Part):
    """The columns of one evaluation.

    Attributes:
        positions: the position of each column.
        marks: columns that have names.
        error_scale: divisor of raw scores; None where it is the task's.
        axis: the quantity that `positions` counts; None where it was not recorded.
        metric: of the scores; None where it is the task's.
        trivial: raw score of the trivial predictor by column; None where it is the task's.
    """

    positions: list[Whole]
    marks: dict[str, Whole] = Field(default_factory=dict)
    error_scale: float | None = Field(default=None, gt=0)
    axis: str | None = None
    metric: Metric | None = None
    trivial: list[float] | None = None

    @model_validator(mode="after")
    def _marks_are_columns(self) -> Self:
        for name, column in self.marks.items():
            if not 0 <= column < len(self.positions):
                raise ValueError(f"mark '{name}' is column {column} of {len(self.positions)}")
        return self

    @model_validator(mode="after")
    def _as_many_trivial_scores_as_columns(self) -> Self:
        if self.trivial is not None and len(self.trivial) != len(self.positions):
            lengths = f"{len(self.trivial)} and {len(self.positions)}"
            raise ValueError(f"trivial and positions differ in length ({lengths})")
        return self


class TaskFacts(Part):
    """Facts of a task that readers of its scores need."""

    task_id: str
    metric: Metric
    error_scale: float = Field(gt=0)
    trivial: float
    n_points: Count
    length: Count
    headline: str | None = None
    first_position: Whole = 0
    convergence_accuracy: float | None = None
    evaluations: dict[str, RecordedEvaluation] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _headline_is_a_mark(self) -> Self:
        main = self.evaluations.get(MAIN)
        if main is not None and self.headline is not None and self.headline not in main.marks:
            raise ValueError(f"the headline '{self.headline}' is not a mark of the evaluation '{MAIN}'")
        return self

    @model_validator(mode="after")
    def _trivial_predictor_makes_errors(self) -> Self:
        # Errors are compared with those of the trivial predictor, so its own may not be 0.
        accuracies = [self.trivial] if self.metric == "accuracy" else []
        for described in self.evaluations.values():
            if (described.metric or self.metric) == "accuracy":
                accuracies += described.trivial or []
        if any(accuracy >= 1 for accuracy in accuracies):
            raise ValueError("trivial: the accuracy of a predictor that has learned nothing is below 1")
        return self


class RunFacts(TaskFacts):
    """`TaskFacts`, the parameters with and without read-in and read-out, and the size's name."""

    parameters: Count
    table_parameters: Count
    size_group: str | None


class Scores(Part):
    """Raw scores of one evaluation at one checkpoint.

    Attributes:
        mean: over prompts, by column; empty where columns were not kept.
        standard_error: of `mean`, over prompts.
        overall: mean over prompts and over positions from `facts.first_position` on, and its standard error.
        headline: the score that the run is judged by, where it was recorded.
    """

    mean: list[float] = Field(default_factory=list)
    standard_error: list[float] = Field(default_factory=list)
    overall: Pair
    headline: Pair | None = None

    @model_validator(mode="after")
    def _as_many_errors_as_means(self) -> Self:
        if len(self.mean) != len(self.standard_error):
            lengths = f"{len(self.mean)} and {len(self.standard_error)}"
            raise ValueError(f"mean and standard_error differ in length ({lengths})")
        return self


class Checkpoint(Part):
    """Scores after so many steps; training FLOPs with the curriculum counted, and at full length.

    Attributes:
        evaluations: scores of the current model, or of an earlier one whose validation loss is lower, if the
            run tests the best checkpoint.
        validation_loss: of the current model; only such a run has it.
        tested_step: of such a run, the step of the checkpoint whose model has these scores.
    """

    step: Count
    training_flops: Flops
    training_flops_full_length: Flops
    evaluations: dict[str, Scores]
    validation_loss: float | None = None
    tested_step: Count | None = None

    @model_validator(mode="after")
    def _has_what_is_reported_and_what_selects(self) -> Self:
        for name in (MAIN, SELECTION):
            if name not in self.evaluations:
                raise ValueError(f"lacks the evaluation '{name}'")
        if not self.evaluations[MAIN].mean:
            raise ValueError(f"lacks the scores by position of '{MAIN}'")
        return self


class RecordedPrompts(Part):
    """The prompts of one evaluation: how many, and a digest of them."""

    count: Count
    sha256: str


class PerPrompt(Part):
    """Each report prompt's headline score at the last checkpoint, base64 of little-endian float32.

    Consecutive prompts that share a hidden function have one score, their mean.
    """

    report: str | None

    @model_validator(mode="after")
    def _is_numbers(self) -> Self:
        try:
            data = self.data
        except ValueError:
            raise ValueError("is not base64") from None
        if len(data) % 4:
            raise ValueError(f"is {len(data)} bytes, no whole number of 32-bit floats")
        if not _all_finite(data):
            raise ValueError("holds a number that is not finite")
        return self

    @property
    def data(self) -> bytes:
        """The numbers, as little-endian float32."""
        return binascii.a2b_base64(self.report or "", strict_mode=True)

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return len(self.data) // 4


def _all_finite(data: bytes) -> bool:
    """Whether little-endian float32 numbers are finite: a number that is not has an exponent of ones."""
    high = data[3::4]
    if b"\x7f" not in high and b"\xff" not in high:  # nearly always, and much faster
        return True
    return all(math.isfinite(number) for (number,) in struct.iter_unpack("<f", data))


class Curve(Part):
    """Training loss (mean) and gradient norm (maximum) of each window of steps."""

    step: list[Whole] = Field(default_factory=list)
    loss: list[float] = Field(default_factory=list)
    gradient_norm: list[float] = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_equal_lengths(self) -> Self:
        if len({len(self.step), len(self.loss), len(self.gradient_norm)}) > 1:
            raise ValueError("step, loss and gradient_norm differ in length")
        return self


class Tested(Part):
    """The largest differences of one kernel from its reference, measured by the training process."""

    outputs: float | None = None
    gradients: float | None = None
    agrees: bool = False


class StackPlace(Part):
    """The stack that a run trained in."""

    id: str
    members: Count
    place: Whole


class Piece(Part):
    """A process that trained a part of a run. Older results have the first three fields alone.

    Attributes:
        from_step: optimisation steps done when it began.
        device: the name of the GPU or the processor.
        commit: of bench; `dirty` and `source` as in `Provenance`.
        kernels: the kernels' backend that was chosen.
        backends: by kernel that the model or the optimizer uses, the backend whose code computed it; for a
            kernel of another library its location. "triton" computes the selective scan, also that of Mamba's
            block, in CUDA C++ or in Triton. Each call chooses, by the shapes and types of its tensors, the
            GPU and the compiler NVRTC (`bench.kernels.scan.cuda.suits`), so the language is not recorded.
        captured: whether whole steps were captured as one graph.
        processes: how many shared each batch.
        members: runs in the stack.
    """

    device: str | None
    host: str | None
    from_step: Whole
    commit: str | None = None
    dirty: bool | None = None
    source: str | None = None
    cuda: str | None = None
    torch: str | None = None
    triton: str | None = None
    kernels: str | None = None
    backends: dict[str, str] | None = None
    captured: bool | None = None
    processes: Count | None = None
    members: Count | None = None


class Weights(Part):
    """The file with the parameters of the trained model, beside the result, and its SHA-256."""

    file: str
    sha256: str


class Provenance(Part):
    """Where a result comes from. All of it may be absent, and equal results may differ in it."""

    synthetic: bool | None = None
    device: str | None = None
    host: str | None = None
    bench: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    source: str | None = None
    submitted_code: dict[str, str | bool | None] | None = None
    code_changed: bool | None = None
    python: str | None = None
    cuda: str | None = None
    packages: dict[str, str | None] | None = None
    scan: str | None = None
    captured: bool | None = None
    processes: Count | None = None
    self_test: list[Tested] | None = None
    plugins: list[dict[str, str]] | None = None
    peak_memory_mib: float | None = Field(default=None, ge=0)
    steps_per_second: float | None = Field(default=None, ge=0)
    train_seconds: Seconds | None = None
    evaluation_seconds: Seconds | None = None
    evaluation_flops: Annotated[int, Field(ge=0, le=10**40)] | None = None
    started: Seconds | None = None
    finished: Seconds | None = None
    resumptions: Whole | None = None
    pieces: list[Piece] | None = None
    stack: StackPlace | None = None
    weights: Weights | None = None
    job: str | None = None


class Stopped(Part):
    """How a run with a stop rule ended.

    Attributes:
        step: the last step that was trained; at most the run's `steps`.
        converged_step: step of the check at which the model had converged; None if it never had.
    """

    step: Count
    converged_step: Count | None


class RunRecord(Part):
    """The result of one run."""

    format: Literal[1]
    kind: Literal["run"]
    id: str
    outcome: Literal["finished", "diverged"]
    reason: str | None
    run: RecordedRun
    facts: RunFacts
    checkpoints: list[Checkpoint]
    not_evaluated: dict[str, str] = Field(default_factory=dict)
    convergence_step: Whole | None = None
    stop: Stopped | None = None
    per_prompt: PerPrompt
    prompts: dict[str, RecordedPrompts]
    curve: Curve
    provenance: Provenance

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for fault in self._faults():
            raise ValueError(fault)
        return self

    def _faults(self) -> Iterator[str]:
        steps = [checkpoint.step for checkpoint in self.checkpoints]
        if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
            yield f"checkpoints do not rise: steps {steps}"
        if not set(steps) <= {*self.run.checkpoints, self.last_step}:
            yield f"checkpoints at steps {steps}, where the run has {self.run.checkpoints}"
        if self.outcome == "diverged" and not self.reason:
            yield "diverged without a reason"
        if self.outcome == "finished":
            if self.last_step not in steps:
                yield f"finished without a checkpoint at its last step, {self.last_step}"
            if not self.per_prompt.report:
                yield "finished without the scores of each prompt"
        yield from self._score_faults()
        yield from self._stop_faults()
        yield from self._tested_step_faults()
        yield from self._column_faults()
        yield from _missing_prompts(self.prompts, (MAIN, SELECTION))

    def _stop_faults(self) -> Iterator[str]:
        """An end that the stop rule does not explain."""
        rule, stop = self.run.stop, self.stop
        if stop is None:
            if rule is not None and self.finished:
                yield "finished without the step at which its stop rule ended it"
            return
        if rule is None:
            yield "stopped, but its run has no stop rule"
            return
        converged = stop.converged_step
        end = self.run.steps if converged is None else min(self.run.steps, converged + rule.after_convergence)
        if stop.step != end:
            yield f"stopped at step {stop.step}, where its stop rule ends it at step {end}"
        if self.last is not None and self.last.step > end:
            yield f"a checkpoint at step {self.last.step}, after its end at step {end}"

    def _score_faults(self) -> Iterator[str]:
        """A last score that is not the mean of the scores of each prompt, as after an edit by hand."""
        if self.last is None or not self.per_prompt.report:
            return
        scores = self.last.evaluations[MAIN]
        if self.facts.headline is not None and scores.headline is None:
            return  # the oldest results: the score is at a mark that the file may not describe
        stated = (scores.headline or scores.overall)[0]
        if self.facts.headline is None and stated != scores.overall[0]:
            both = f"overall {scores.overall[0]:g} and headline {stated:g} of the last '{MAIN}'"
            yield f"{both} differ, and are one number for this task: changed after training"
        data = self.per_prompt.data
        values = struct.unpack(f"<{len(data) // 4}f", data)
        mean = sum(values) / len(values)
        difference = abs(mean - stated) - ROUNDING * abs(stated)
        if difference > FLOAT32_SMALLEST and difference > FLOAT32_ROUNDING * max(map(abs, values)):
            yield (
                f"the last score of '{MAIN}' is {stated:g}, where the mean over its prompts (per_prompt) is "
                f"{mean:.5g}: changed after training"
            )

    def _tested_step_faults(self) -> Iterator[str]:
        """A tested checkpoint other than the one with the lowest validation loss so far."""
        best: tuple[float, int] | None = None
        for checkpoint in self.checkpoints:
            loss, tested, step = checkpoint.validation_loss, checkpoint.tested_step, checkpoint.step
            if loss is None or tested is None:
                continue
            if best is None or loss < best[0]:
                best = loss, step
            if tested != best[1]:
                yield f"step {step} has the scores of step {tested}, not of step {best[1]}"

    def _column_faults(self) -> Iterator[str]:
        """Scores whose number of columns differs from their description, or from another checkpoint."""
        lengths = {name: len(described.positions) for name, described in self.facts.evaluations.items()}
        for checkpoint in self.checkpoints:
            for name, scores in checkpoint.evaluations.items():
                count = len(scores.mean)
                if count and lengths.setdefault(name, count) != count:
                    at = f"at step {checkpoint.step}"
                    yield f"evaluation '{name}' has {count} scores {at}, where it has {lengths[name]} columns"

    @property
    def last(self) -> Checkpoint | None:
        """The last checkpoint; None when the run diverged before its first."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def last_step(self) -> int:
        """The step at which the training ended, or was to end: earlier than planned after a stop."""
        return self.run.steps if self.stop is None else self.stop.step

    @property
    def finished(self) -> bool:
        """Whether it was trained to its last step."""
        return self.outcome == "finished"

    @property
    def name(self) -> str:
        """The architecture and the task, for messages."""
        return f"{self.run.architecture.name} on {self.run.task.name}"


class RecordedBaseline(Part):
    """One predictor that was not trained: scores at some positions of an evaluation."""

    name: str
    kind: str
    evaluation: str = MAIN
    positions: list[Whole]
    mean: list[float]
    standard_error: list[float]
    prompts: Count
    seconds: Seconds = 0.0
    overall: Pair | None = None

    @model_validator(mode="after")
    def _has_equal_lengths(self) -> Self:
        if not len(self.positions) == len(self.mean) == len(self.standard_error):
            raise ValueError("positions, mean and standard_error differ in length")
        return self


class BaselinesRecord(Part):
    """The baselines of one task."""

    format: Literal[1]
    kind: Literal["baselines"]
    id: str
    task: Named
    facts: TaskFacts
    prompts: dict[str, RecordedPrompts]
    baselines: list[RecordedBaseline]
    provenance: Provenance

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for fault in _missing_prompts(self.prompts, (MAIN,)):
            raise ValueError(fault)
        return self

    @property
    def name(self) -> str:
        """The task, for messages."""
        return f"baselines of {self.task.name}"


class EvaluationRecord(Part):
    """Scores of one run's model on other prompts than those of the run (`bench evaluate --store`).

    Attributes:
        id: the run's.
        weights_sha256: digest of the file of the model's weights.
        task: the task of the prompts.
        facts: of that task.
    """

    format: Literal[1]
    kind: Literal["evaluation"]
    id: str
    weights_sha256: str
    task: Named
    facts: TaskFacts
    prompts: dict[str, RecordedPrompts]
    evaluations: dict[str, Scores]
    provenance: Provenance


Record = RunRecord | BaselinesRecord


def same_numbers(record: Record, other: Record) -> bool:
    """Whether two records are equal, except for their provenance and computing times."""
    return _without_origin(record) == _without_origin(other)


def per_prompt(result: RunRecord) -> np.ndarray[Any, Any]:
    """Headline score of each test prompt at the last checkpoint, float32 (prompts,)."""
    import numpy as np

    return np.frombuffer(result.per_prompt.data, dtype="<f4")


def _without_origin(record: Record) -> dict[str, Any]:
    return record.model_dump(exclude={"provenance": True, "baselines": {"__all__": {"seconds"}}})


def _missing_prompts(prompts: dict[str, RecordedPrompts], names: Sequence[str]) -> Iterator[str]:
    yield from (f"prompts lack '{name}'" for name in names if name not in prompts)
