"""A run: one grid point, identified by every field that affects its numbers.

`SETTINGS` describes the fields that are settings of training. Suites, filters, plans, claims and exports read
it. A new setting is therefore a field of `Run`, a field of `bench.results.record.RecordedRun`, and the code
that trains with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, SerializeAsAny, model_validator

from bench import flops
from bench.digits import short
from bench.frozen import Frozen, identity
from bench.json_data import digest
from bench.models.architecture import Architecture
from bench.models.sizes import Size, size_key
from bench.optimizers import OPTIMIZERS, Adam, AnyOptimizer
from bench.paper.sizes import group_of
from bench.precision import PRECISIONS
from bench.tasks import Task
from bench.tasks.task import Evaluation, LongerEvaluation

Steps = Annotated[int, Field(gt=0, le=10**12)]
BYTES_PER_PARAMETER = 16
"""Memory of a parameter in training: its value, its gradient and Adam's two moments, in fp32."""
BYTES_PER_ACTIVATION = 1000
"""GPU memory of training per token, channel and layer: an upper bound, for runs without a measurement. On an
H200 it was up to 320 in regression and 690 with many symbols. It is more only in runs below 300 MiB, where
fixed parts count."""
MOST_PROMPTS = 10**9
"""Largest number of prompts of an evaluation."""
Seed = Annotated[int, Field(ge=0, lt=2**64)]
"""A seed: the range of PyTorch's generators."""
EvaluationPrompts = Annotated[int, Field(ge=2, le=MOST_PROMPTS)]
"""At least two, because a standard error needs two."""
if TYPE_CHECKING:
    PrecisionName = str
else:
    PrecisionName = Literal[tuple(PRECISIONS)]


class Stop(Frozen):
    """A rule that ends a run before its last step, some steps after the model has converged.

    The model is checked after every `every` steps, on the validation prompts. It has converged when its mean
    accuracy reaches the task's `convergence_accuracy`, as in Figure 7.

    Attributes:
        after_convergence: steps from the check at which the model has converged to the end of the run.
        every: steps between checks.
    """

    after_convergence: Steps
    every: Steps = 1_000

    @property
    def name(self) -> str:
        """The rule in one word, as filters and exports show it."""
        return f"after_convergence={self.after_convergence},every={self.every}"


@dataclass(frozen=True)
class Setting:
    """A setting of training: how suites and exports present a field of `Run`.

    Attributes:
        key: the key of suites.
        description: of that key, in the schema.
        meaning: of the column in exports.
        listed: whether a grid may list several values.
    """

    key: str
    description: str
    meaning: str
    listed: bool = True


class Run(Frozen):
    """One model trained once.

    Attributes:
        task: what is learned in context.
        architecture: the pattern of blocks.
        size: layers, nominal width, attention heads.
        learning_rate: peak learning rate.
        clip: largest norm of the gradient; larger gradients are scaled down to it.
        optimizer: the optimizer with its options (`bench.optimizers`).
        batch_size: prompts per step.
        steps: optimisation steps; the most that there can be, if `stop` is given.
        stop: ends the run after convergence; None to train all steps.
        checkpoints: steps after which the model is evaluated; they rise and end at `steps`.
        tested_checkpoint: the model whose scores a checkpoint records: the current one, or the one with the
            lowest validation loss (`Task.validation`) of all checkpoints so far.
        seed: fixes initialisation and training data. Runs with equal task and seed train on the same prompts.
        precision: of matrix products in training (`bench.precision`). Parameters, optimizer and evaluation
            are always fp32.
        evaluation_prompts: test prompts, and as many validation prompts.
    """

    later_fields: ClassVar[Mapping[str, Any]] = {"stop": None, "tested_checkpoint": "last"}

    task: SerializeAsAny[Task]
    architecture: Architecture
    size: Size
    learning_rate: Annotated[
        PositiveFloat, Setting("learning_rates", "Learning rates to train with.", "peak learning rate")
    ]
    clip: Annotated[
        PositiveFloat,
        Setting(
            "clip",
            "Largest norm of the gradient of all parameters.",
            "the gradient's norm is clipped to this",
        ),
    ] = 10.0
    optimizer: Annotated[
        AnyOptimizer,
        Setting(
            "optimizer",
            f"{', '.join(OPTIMIZERS)}, or a mapping of the name and its settings.",
            " or ".join(OPTIMIZERS),
        ),
    ] = Adam()
    batch_size: Annotated[
        int,
        Field(gt=0, le=10**9),
        Setting("batch_size", "Prompts in a training step.", "prompts per step", listed=False),
    ] = 64
    steps: Annotated[
        Steps, Setting("steps", "Training steps.", "training steps of the whole run", listed=False)
    ]
    stop: Annotated[
        Stop | None,
        Setting(
            "stop",
            "{after_convergence: N, every: M}: end a run N steps after its model has converged. That is "
            "checked every M steps on validation prompts; only for tasks with a criterion of convergence.",
            "the rule that ends a run after convergence; missing for runs that train all steps",
            listed=False,
        ),
    ] = None
    checkpoints: tuple[Steps, ...]
    tested_checkpoint: Annotated[
        Literal["last", "best_validation"],
        Setting(
            "tested_checkpoint",
            "last, or best_validation: test the model of the checkpoint with the lowest validation loss so "
            "far; only for tasks of formal languages.",
            "the checkpoint that is tested: last, or best_validation",
            listed=False,
        ),
    ] = "last"
    seed: Annotated[
        Seed,
        Setting(
            "seeds",
            "Each seed fixes an initialisation and a stream of training prompts.",
            "seed of initialisation and training data",
        ),
    ] = 0
    precision: Annotated[
        PrecisionName,
        Setting(
            "precision",
            "Precision of matrix products.",
            "precision of matrix products in training, such as fp32 or tf32",
        ),
    ] = "fp32"
    evaluation_prompts: EvaluationPrompts = 1280

    @model_validator(mode="after")
    def _checkpoints_end_the_run(self) -> Self:
        if list(self.checkpoints) != sorted(set(self.checkpoints)) or self.checkpoints[-1:] != (self.steps,):
            raise ValueError(f"checkpoints must rise and end at steps ({self.steps})")
        return self

    @model_validator(mode="after")
    def _stop_is_defined(self) -> Self:
        if self.stop is not None and self.task.convergence_accuracy is None:
            raise ValueError(f"stop: the task '{self.task.name}' has no criterion of convergence")
        return self

    @model_validator(mode="after")
    def _validation_is_defined(self) -> Self:
        if self.tested_checkpoint == "best_validation" and self.task.validation is None:
            raise ValueError(f"tested_checkpoint: the task '{self.task.name}' has no validation loss")
        return self

    @model_validator(mode="after")
    def _plateaus_are_defined(self) -> Self:
        if self.optimizer.plateau_factor is not None and self.task.validation is None:
            raise ValueError(f"optimizer: decay plateau: the task '{self.task.name}' has no validation loss")
        return self

    @model_validator(mode="after")
    def _streams_exist(self) -> Self:
        if not self.architecture.carries:
            return self
        name, windows = self.architecture.name, self.task.windows_per_stream(self.batch_size)
        if windows is None:
            raise ValueError(
                f"architecture: {name} carries a state from step to step, and the task "
                f"'{self.task.name}' has no streams to carry it along"
            )
        if windows == 0:
            raise ValueError(
                f"batch_size: {name} reads {self.batch_size} streams side by side, and the task "
                f"'{self.task.name}' has too little text for so many"
            )
        return self

    @model_validator(mode="after")
    def _prompts_exist(self) -> Self:
        most = self.task.most_evaluation_prompts
        if most is not None and self.evaluation_prompts > most:
            raise ValueError(
                f"evaluation_prompts: the task '{self.task.name}' has {most}, got {self.evaluation_prompts}"
            )
        group = self.task.dependent_prompts
        if self.evaluation_prompts <= group:
            raise ValueError(
                f"evaluation_prompts: {group} prompts of the task '{self.task.name}' share a function and "
                f"count as one, so a standard error needs more than {group}, got {self.evaluation_prompts}"
            )
        return self

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        size = self.size
        if self.architecture.uses_heads:
            if size.heads is None:
                raise ValueError(f"{self.architecture.name} needs a number of heads")
            if self.architecture.actual_width(size.width) % size.heads:
                raise ValueError(f"width {size.width} is not divisible by {size.heads} heads")
        elif size.heads is not None:
            raise ValueError(f"{self.architecture.name} has no attention heads: heads must be null")
        return self

    @model_validator(mode="after")
    def _blocks_state_their_cost(self) -> Self:
        if misfit := self.architecture.width_fault(self.size.width):
            raise ValueError(misfit)
        if fault := flops.fault(self.architecture, self.size.width, self.task.full_length):
            raise ValueError(f"architecture: {fault}")
        return self

    def identity(self) -> dict[str, Any]:
        """Every field that affects the run's numbers, as it is hashed and recorded."""
        return {**identity(self), "task": self.task.identity()}

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the canonical JSON of `identity()`."""
        return digest(self.identity())

    @property
    def file_name(self) -> str:
        """The name of the result's file."""
        return f"{self.label}.json"

    @cached_property
    def task_id(self) -> str:
        """Identifies the task and its evaluation prompts; runs with equal task ids share their prompts."""
        return digest({"task": self.task.identity(), "evaluation_prompts": self.evaluation_prompts})

    @property
    def independent_prompts(self) -> int:
        """Number of evaluation prompts, where those that share a hidden function count as one."""
        return math.ceil(self.evaluation_prompts / self.task.dependent_prompts)

    def evaluations(self) -> dict[str, Evaluation]:
        """The task's evaluations, and those on longer prompts if the model is defined there.

        Only the last checkpoint has the evaluations on longer prompts.
        """
        longer = {} if self.architecture.length_fault else _longer_evaluations(self.task)
        descriptions = {name: evaluation.description for name, evaluation in longer.items()}
        return {**self.task.evaluations(), **descriptions}

    @property
    def label(self) -> str:
        """A name for people; never parsed."""
        return (
            f"{self.architecture.name}-{size_key(self.size)}"
            f"-lr{short(self.learning_rate)}-clip{short(self.clip)}-s{self.seed}-{self.id}"
        )

    @property
    def size_group(self) -> str | None:
        """Table 6's name for this size, or None."""
        return group_of(self.size.layers, self.size.width)

    @property
    def parameters(self) -> int:
        """Trainable parameters, read-in and read-out included."""
        task = self.task
        return self.architecture.parameters(
            self.size.layers,
            self.size.width,
            length=task.full_length,
            n_inputs=task.n_inputs,
            n_outputs=task.n_outputs,
            discrete=task.discrete,
        )

    @property
    def state_numbers(self) -> int | None:
        """Numbers that the model keeps of a prompt to read the next token; None if a block states none."""
        length = self.task.full_length
        return self.architecture.state_numbers(self.size.layers, self.size.width, length)

    def unmeasured_bytes(self, devices: int = 1) -> float:
        """An upper bound of the GPU memory of training, for runs without a measurement.

        Args:
            devices: GPUs among which the prompts of each batch are divided.
        """
        width = self.architecture.actual_width(self.size.width)
        tokens = self.batch_size * self.task.full_length / devices
        activations = tokens * width * self.size.layers
        return BYTES_PER_ACTIVATION * activations + BYTES_PER_PARAMETER * self.parameters

    def training_flops(self, steps: int | None = None) -> int:
        """Training FLOPs of the first `steps` steps (default: all), with the curriculum counted."""
        size, steps = self.size, self.steps if steps is None else steps
        return flops.training_flops(
            self.architecture, size.layers, size.width, self.task, self.batch_size, steps
        )

    def training_flops_full_length(self, steps: int | None = None) -> int:
        """Training FLOPs of the first `steps` steps (default: all), each at the full prompt length."""
        size, steps = self.size, self.steps if steps is None else steps
        return flops.training_flops_full_length(
            self.architecture, size.layers, size.width, self.task, self.batch_size, steps
        )

    def forward_flops(self, length: int) -> int:
        """FLOPs of the forward pass of one prompt of `length` tokens."""
        return 2 * flops.multiplications(self.architecture, self.size.layers, self.size.width, length)

    def evaluation_flops(self, last_step: int | None = None) -> int:
        """FLOPs of all evaluations of a run that ends at `last_step` (default: its last): forward passes.

        With a stop rule the most: as if convergence were checked until the end.
        """
        end = self.steps if last_step is None else last_step
        evaluated = {end, *(step for step in self.checkpoints if step <= end)}
        sets = len(evaluated) * (2 + len(self.task.other_evaluations))  # validation and test prompts
        if self.stop is not None:  # checks on the validation prompts, where no evaluation has scored them
            sets += end // self.stop.every - sum(step % self.stop.every == 0 for step in evaluated)
        lengths = [] if self.architecture.length_fault else _longer_evaluations(self.task).values()
        longer = sum(self.forward_flops(evaluation.task.full_length) for evaluation in lengths)
        return self.evaluation_prompts * (sets * self.forward_flops(self.task.full_length) + longer)


@lru_cache(maxsize=256)  # a suite has few tasks and thousands of runs
def _longer_evaluations(task: Task) -> Mapping[str, LongerEvaluation]:
    return task.longer_evaluations()


SETTINGS: dict[str, Setting] = {
    name: setting
    for name, field in Run.model_fields.items()
    for setting in field.metadata
    if isinstance(setting, Setting)
}
"""Settings of training by the name of the field, in the order of `Run`."""


def value_of(run: object, name: str) -> Any:
    """A setting of a run, planned or recorded, as plain data: of an optimizer or a stop rule its name."""
    value = getattr(run, name)
    return getattr(value, "name", value)


def text_of(run: object, name: str) -> str:
    """`value_of` as text."""
    value = value_of(run, name)
    if value is None:
        return "none"
    return short(value) if isinstance(value, float) else str(value)
