"""Train one run in this process, for a notebook or a script, as a worker does.

The result is that of `bench run`, to the same bits on the same kind of hardware. A run that has a result is
not trained again, and an interrupted one resumes.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench import environment, plugins
from bench import results as pools
from bench.dispatch.job import Machine
from bench.dispatch.members import first_progress, heartbeat_fields
from bench.dispatch.plugin_checks import NotComparable, check_plugins, record_plugins
from bench.dispatch.state import Folder
from bench.dispatch.worker_process import check_kernels, prepare_process
from bench.errors import UserError, check_type, did_you_mean
from bench.files import as_read
from bench.kernels.backends import CHOICES, resolve, unavailable
from bench.results import RunRecord
from bench.run import Run
from bench.strict_yaml.complaints import of_values

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bench.models.backbone import Model
    from bench.train.loop import Progress


class TrainedRun(NamedTuple):
    """The outcome of a training.

    Attributes:
        result: the result, as it is in its file.
        model: the trained model, on the CPU and in evaluation mode; None if the run diverged, or if its
            result existed and no weights are kept beside it.
    """

    result: RunRecord
    model: Model | None


def train_run(
    run: Run,
    results: str | Path | None = None,
    *,
    device: str = "cpu",
    kernels: str = "auto",
    keep_weights: bool = False,
    progress: Callable[[Progress], None] = lambda progress: None,
) -> TrainedRun:
    """Train a run in this process and return its result and its model.

    Args:
        run: what to train (`bench.make_run`).
        results: the folder of results. A result that it has is returned without training, a new one is
            stored there. None stores nothing.
        device: "cpu", "cuda" or "cuda:1".
        kernels: a backend of the kernels, as for `bench run --kernels`.
        keep_weights: whether to store the weights beside the result, for `bench.load_model`.
        progress: called about once a second.

    Raises:
        UserError: an argument does not fit, another process trains the run, the device cannot train it, or a
            plugin's architecture cannot be compared with others.
    """
    from bench.kernels.product.precision import unavailable as precision_fault

    check_type("run", run, Run, "a run, as bench.make_run returns it")
    # `model_copy(update=…)` checks nothing.
    run = of_values(Run, {name: getattr(run, name) for name in Run.model_fields})
    check_type("results", results, str | Path | None, "the path of a folder, or None")
    check_type("keep_weights", keep_weights, bool, "True or False")
    check_type("progress", progress, Callable, "a function of the progress")
    device = checked_device(device, kernels)
    if fault := precision_fault(run.precision, device):
        raise UserError(f"run {run.id} cannot train on {device}: {fault}")
    if results is None:
        if keep_weights:
            raise UserError("keep_weights needs a folder of results")
        with tempfile.TemporaryDirectory() as scratch:
            result, model = _train(run, Path(scratch), device, kernels, None, progress)
        return TrainedRun(pools.read_run(as_read(result)), model)
    return _trained_in(Path(results), run, device, kernels, keep_weights, progress)


def _trained_in(
    results: Path,
    run: Run,
    device: str,
    kernels: str,
    keep_weights: bool,
    progress: Callable[[Progress], None],
) -> TrainedRun:
    """The result of a run in a folder of results: the stored one, or a new one that is stored there."""
    pools.check_writable(results)
    if stored := _stored_in(results, run):
        return stored
    folder = Folder.of(results, run.id)
    with folder.locked() as free:
        if not free:
            raise UserError(f"run {run.id}: {folder.held_by() or 'another process'} trains it")
        if stored := _stored_in(results, run):  # another process finished it meanwhile
            folder.clear()
            return stored
        path = pools.path_of(results, run)
        with _heartbeats(folder, run, device) as beat:

            def report(now: Progress) -> None:
                beat(now)
                progress(now)

            weights_of = path if keep_weights else None
            result, model = _train(run, folder.path, device, kernels, weights_of, report)
            pools.store(path, result, folder.path)
        folder.clear()
    return TrainedRun(pools.read_run(as_read(result)), model)


def _stored_in(results: Path, run: Run) -> TrainedRun | None:
    """The stored result of a run, with the model if its weights are kept; None without a result."""
    record = pools.load_run(results, run)
    if record is None:
        return None
    if record.provenance.weights is None:
        return TrainedRun(record, None)
    from bench.train.weights import load_model

    return TrainedRun(record, load_model(pools.path_of(results, run)))


@contextlib.contextmanager
def _heartbeats(folder: Folder, run: Run, device: str) -> Iterator[Callable[[Progress], None]]:
    """A function that writes a heartbeat with the progress of a run that trains in this process.

    After an exception the last heartbeat states the end, because this process may live on.
    """
    began, last = time.time(), first_progress([folder], folder)

    def beat(progress: Progress) -> None:
        nonlocal last
        last = progress
        folder.beat(**heartbeat_fields(run, device, began, progress))

    beat(last)
    try:
        yield beat
    except BaseException as error:
        with contextlib.suppress(OSError):
            folder.beat(**heartbeat_fields(run, device, began, last), ended=type(error).__name__)
        raise


def _train(
    run: Run,
    folder: Path,
    device: str,
    kernels: str,
    weights_of: Path | None,
    progress: Callable[[Progress], None],
) -> tuple[dict[str, Any], Model | None]:
    """The result and the model of a run whose state is in `folder`; the weights go beside `weights_of`."""
    import torch

    from bench.train.loop import TrainingOptions, train
    from bench.train.torch_settings import restoring_settings

    kernels = resolve(kernels, device)[0]
    began, kept = time.time(), _KeptWeights(run, weights_of)
    with restoring_settings(torch.device(device)):
        machine = Machine((device,), threads=torch.get_num_threads(), kernels=kernels)
        test_outcomes = prepare_process(machine)
        check_kernels(test_outcomes)
        try:
            check_plugins(run, device, kernels)
        except NotComparable as error:
            raise UserError(str(error)) from None
        options = TrainingOptions(
            torch.device(device),
            kernels,
            report=progress,
            keep_weights=kept.keep,
            plugins=plugins.version_of([(run.task, run.architecture)]),
        )
        result = train(run, folder, options)
        model = kept.model()
    result["provenance"].update(
        {
            "started": round(began, 3),
            "finished": round(time.time(), 3),
            **environment.describe(device),
            "self_test": test_outcomes,
            **({"weights": kept.entry} if kept.entry else {}),
        }
    )
    record_plugins(result, run.task, run.architecture)
    return result, model


@dataclass
class _KeptWeights:
    """The weights of a run that finished, in memory and perhaps in a file.

    Attributes:
        run: the run.
        beside: the result beside which they are stored; None for memory alone.
        tensors: the model's state dict, on the CPU; empty until the run has finished.
        entry: the entry `weights` of the result's provenance, if there is a file.
    """

    run: Run
    beside: Path | None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    entry: dict[str, str] | None = None

    def keep(self, member: int, tensors: dict[str, Tensor]) -> dict[str, str] | None:
        """Keep a state dict (`bench.train.loop.TrainingOptions.keep_weights`)."""
        from bench.train import weights

        self.tensors = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
        self.entry = weights.save(self.beside, self.run.id, self.tensors) if self.beside else None
        return self.entry

    def model(self) -> Model | None:
        """The trained model, on the CPU and in evaluation mode; None if nothing was kept."""
        from bench.train.model import build

        if not self.tensors:
            return None
        model = build(self.run)
        model.load_state_dict(self.tensors)
        return model.eval()


def checked_device(device: str | torch.device, kernels: str) -> str:
    """The full name of a device, "cpu" or "cuda:0".

    Raises:
        UserError: this machine has no such device, or the kernels' backend cannot run there.
    """
    import torch

    try:
        kind = torch.device(device)
    except (RuntimeError, TypeError, ValueError):
        raise UserError(f"unknown device '{device}', expected cpu, cuda or cuda:0") from None
    if kind.type not in ("cpu", "cuda"):
        raise UserError(f"device '{device}' cannot train, expected cpu, cuda or cuda:0")
    if kind.type == "cuda":
        count = torch.cuda.device_count()
        if (kind.index or 0) >= count:
            raise UserError(f"device '{device}' does not exist: PyTorch sees {count} GPUs here")
    device = f"cuda:{kind.index or 0}" if kind.type == "cuda" else "cpu"
    if not isinstance(kernels, str) or kernels not in CHOICES:
        raise UserError(f"unknown kernels '{kernels}'{did_you_mean(kernels, CHOICES)}")
    if fault := unavailable(kernels, device):
        raise UserError(f"kernels '{kernels}' cannot run on {device}: {fault}")
    return device
