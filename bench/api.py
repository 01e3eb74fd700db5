"""The Python API for notebooks and scripts: tasks, models, runs and their cost, by name.

`bench/guide/api.md` shows it. Each function checks names and values as a suite does, and a mistake is a
`UserError` with the nearest valid word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from bench import flops, plugins
from bench.errors import UserError, check_type, did_you_mean
from bench.frozen import Frozen, record_fault
from bench.models.architecture import Architecture
from bench.models.architectures import named
from bench.models.sizes import Size
from bench.optimizers import Optimizer
from bench.run import SETTINGS, Run
from bench.strict_yaml.complaints import Complaint, of_values, refuse
from bench.suite import entries
from bench.suite.entries import At
from bench.tasks import PROTOCOLS, Task

if TYPE_CHECKING:
    from bench.models.backbone import Model

T = TypeVar("T")
F = TypeVar("F", bound=Frozen)


class FlopCount(NamedTuple):
    """What a run costs, by the paper's counts (Appendix B).

    Attributes:
        parameters: trainable parameters, read-in and read-out included.
        prompt_multiplications: of the blocks for one prompt at full length, forward.
        training_flops: of all steps, each at its curriculum's length.
        training_flops_full_length: of all steps at full length, which hardware computes.
    """

    parameters: int
    prompt_multiplications: int
    training_flops: int
    training_flops_full_length: int


def make_task(name: str, *, protocol: str = "paper", **settings: Any) -> Task:
    """Make a task from its name and settings; `bench tasks` lists both.

    Args:
        name: such as "linear_regression".
        protocol: "paper" or "released_code", where the two differ and no setting decides.
        settings: fields of the task, such as `n_dims=10`.

    Raises:
        UserError: no task has this name, or a setting does not fit.
    """
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        raise UserError(f"unknown protocol '{protocol}'{did_you_mean(protocol, PROTOCOLS)}")
    entry = At({"name": name, **_plain(settings)}, ())
    ((task, _),) = _accepted(lambda complaints: entries.tasks([entry], [protocol], complaints))
    return task


def make_architecture(name: str, **options: Any) -> Architecture:
    """Make an architecture from its name and options of its blocks: `make_architecture("s4", dropout=0.1)`.

    The name may include options, as in results: "s4_mamba+dropout=0.0".

    Raises:
        UserError: no architecture has this name, or an option does not fit.
    """
    if "+" in str(name) and not options and (variant := named(name)) is not None:
        return variant
    entry = At({"name": name, **_plain(options)}, ())
    ((architecture, _),) = _accepted(lambda complaints: entries.architectures([entry], complaints))
    assert isinstance(architecture, Architecture)
    return architecture


def make_run(
    task: str | Task,
    architecture: str | Architecture,
    *,
    layers: int,
    width: int,
    learning_rate: float,
    steps: int,
    heads: int = 8,
    **settings: Any,
) -> Run:
    """Describe a training. A run of a suite with the same settings has the same id.

    Args:
        task: a task, or its name.
        architecture: an architecture, or its name.
        layers: number of layers; a layer has two blocks in the paper's architectures.
        width: nominal width.
        learning_rate: peak learning rate.
        steps: training steps.
        heads: attention heads; ignored by architectures without attention.
        settings: further fields of `bench.run.Run`: batch_size, seed, clip, optimizer (a name or a mapping),
            precision, stop (a mapping), checkpoints (a list of steps), evaluation_prompts.

    Raises:
        UserError: a name is unknown, or a value does not fit.
    """
    valid = {*SETTINGS, "checkpoints", "evaluation_prompts"} - {"learning_rate", "steps"}
    for name in settings:
        if name not in valid:
            raise UserError(f"unknown setting '{name}'{did_you_mean(name, sorted(valid))}")
    values = _plain({"learning_rate": learning_rate, "steps": steps, **settings})
    if "optimizer" in values:
        values["optimizer"] = _optimizer(values["optimizer"])
    pattern = _architecture(architecture)
    run = of_values(
        Run,
        {
            **values,
            "task": _task(task),
            "architecture": pattern,
            "size": _size(pattern, layers, width, heads),
            "checkpoints": _checkpoints(values.get("checkpoints", ()), values["steps"]),
        },
    )
    if fault := run.optimizer.fault(run.steps):
        raise UserError(f"optimizer: {fault}")
    return run


def make_model(
    architecture: str | Architecture,
    *,
    layers: int,
    width: int,
    heads: int = 8,
    task: str | Task = "linear_regression",
    seed: int = 0,
    kernels: str = "auto",
    device: str = "cpu",
) -> Model:
    """Build a new model, with the initial values of a run of this seed.

    Args:
        architecture: an architecture, or its name.
        layers: number of layers; a layer has two blocks in the paper's architectures.
        width: nominal width.
        heads: attention heads; ignored by architectures without attention.
        task: decides the width of tokens and outputs, and the number of learned positions.
        seed: of the initial values.
        kernels: a backend of the kernels, as for `bench run --kernels`.
        device: where the model will be used; "auto" kernels depend on it.

    Returns:
        A module that maps tokens (B, L, n_inputs) to outputs (B, L, n_outputs).

    Raises:
        UserError: a name is unknown, or a value does not fit.
    """
    run = make_run(
        task, architecture, layers=layers, width=width, heads=heads, seed=seed, learning_rate=1.0, steps=1
    )
    from bench.dispatch.alone import checked_device
    from bench.train.model import new_model

    return new_model(run, checked_device(device, kernels), kernels)


def count_flops(
    task: str | Task,
    architecture: str | Architecture,
    *,
    layers: int,
    width: int,
    heads: int = 8,
    steps: int = 1,
    batch_size: int = 64,
) -> FlopCount:
    """Count the parameters and training FLOPs of a run.

    Args:
        task: a task, or its name.
        architecture: an architecture, or its name.
        layers: number of layers; a layer has two blocks in the paper's architectures.
        width: nominal width.
        heads: attention heads; ignored by architectures without attention.
        steps: training steps.
        batch_size: prompts per step.

    Raises:
        UserError: a name is unknown, or a value does not fit.
    """
    run = make_run(
        task, architecture, layers=layers, width=width, heads=heads, learning_rate=1.0, steps=steps,
        batch_size=batch_size,
    )  # fmt: skip
    length = run.task.full_length
    return FlopCount(
        run.parameters,
        flops.multiplications(run.architecture, run.size.layers, run.size.width, length),
        run.training_flops(),
        run.training_flops_full_length(),
    )


def load_plugin(file: str | Path) -> None:
    """Load a Python file with architectures and tasks of your own; their names are then valid everywhere.

    Raises:
        UserError: the file is missing, fails, offers nothing, or uses a name that exists.
    """
    check_type("file", file, str | Path, "the path of a Python file")
    plugins.load([Path(file)])


def _task(task: str | Task) -> Task:
    return _recordable(task, f"task '{task.name}'") if isinstance(task, Task) else make_task(task)


def _architecture(architecture: str | Architecture) -> Architecture:
    if isinstance(architecture, Architecture):
        return _recordable(architecture, f"architecture '{architecture.name}'")
    return make_architecture(architecture)


def _recordable(settings: F, name: str) -> F:
    """Settings of a user's own class, which no suite has checked.

    Raises:
        UserError: a field cannot be recorded.
    """
    if fault := record_fault(settings):
        raise UserError(f"{name} cannot be recorded: {fault}")
    return settings


def _size(architecture: Architecture, layers: int, width: int, heads: int) -> Size:
    return of_values(Size, _plain({"layers": layers, "width": width, "heads": heads})).of(architecture)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with NumPy's numbers as Python's, also those in lists and mappings."""
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _plain(value)
    if isinstance(value, list | tuple):
        return [_plain_value(part) for part in value]
    return value.item() if hasattr(value, "item") and not getattr(value, "shape", ()) else value


def _checkpoints(listed: Any, last: Any) -> tuple[Any, ...]:
    """The steps that a user lists, unchecked, and the last step, which may be listed or not.

    Raises:
        UserError: it is not a list, or contains other lists.
    """
    check_type("checkpoints", listed, list | tuple | range, "a list of steps")
    if any(isinstance(step, Iterable) and not isinstance(step, str) for step in listed):
        raise UserError(f"checkpoints: expected a list of steps, got {listed!r}")
    return (*dict.fromkeys(listed), *(() if last in listed else (last,)))  # `last` may be anything


def _optimizer(value: Any) -> Optimizer:
    if isinstance(value, Optimizer):
        return value
    (optimizer,) = _accepted(lambda complaints: entries.optimizers([At(value, ())], None, complaints))
    return optimizer


def _accepted(read: Callable[[list[Complaint]], T]) -> T:
    """The value that `read` returns.

    Raises:
        UserError: `read` complained, or got values that are not plain data.
    """
    complaints: list[Complaint] = []
    try:
        value = read(complaints)
    except TypeError as error:  # of `json`, which names the type: "Object of type set is not …"
        raise UserError(f"settings must be text, numbers, lists and mappings: {error}") from None
    except ValueError:  # of `json`, for NaN and infinities
        raise UserError("settings must be finite numbers: one is NaN or infinite") from None
    refuse(complaints)
    return value
