"""Parameters of trained models as safetensors files, beside the results (`bench run --keep-weights`).

    results/<task>/<label>-<id>.json          the result; its provenance names the file of the weights
    results/<task>/<label>-<id>.safetensors   every entry of the module's `state_dict`, under its own name

The file is written before the result, which records its digest. `load_model` refuses a file with another
digest.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from bench import results as pools
from bench.errors import UserError, check_type
from bench.files import parse_json, write_atomically
from bench.models.architectures import named
from bench.models.backbone import Model
from bench.results import NotARecord, RunRecord
from bench.run import Run
from bench.tasks import TASKS
from bench.train.model import build

SUFFIX = ".safetensors"


def save(result_path: Path, run_id: str, tensors: dict[str, Tensor]) -> dict[str, str]:
    """Write a model's tensors atomically beside the result at `result_path`.

    Returns:
        The entry `weights` of the result's provenance: the name of the file and its SHA-256.
    """
    from safetensors.torch import save as serialised

    path = result_path.with_suffix(SUFFIX)
    # Copies: members of a stack are views of one buffer, and safetensors refuses shared memory.
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    data = serialised(copies, metadata={"format": "pt", "bench_run": run_id})
    write_atomically(path, data)
    return {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}


def load_model(which: str | Path, results: str | Path = "results") -> Model:
    """Load a trained model, on the CPU and in evaluation mode.

    The run must have been trained with `bench run --keep-weights`. A model of a plugin's task or architecture
    needs `bench.plugins.load` first.

    Args:
        which: the id of a run, its beginning, its label, or the path of its result file.
        results: the folder of results, where an id is looked up.

    Returns:
        The module. It maps tokens (B, L, n_inputs) to outputs (B, L, n_outputs).

    Raises:
        UserError: see `load_trained`.
    """
    return load_trained(which, results).model


class KeptModel(NamedTuple):
    """A trained model and where it comes from.

    Attributes:
        path: the file of the result.
        result: the result.
        run: the run, as this version of bench defines it.
        model: the model, on the CPU and in evaluation mode.
    """

    path: Path
    result: RunRecord
    run: Run
    model: Model


def load_trained(
    which: str | Path, results: str | Path = "results", kernels: str = "sequential"
) -> KeptModel:
    """Load a trained model with its result and its run.

    Args:
        which: the id of a run, its beginning, its label, or the path of its result file.
        results: the folder of results, where an id is looked up.
        kernels: the kernels' backend of the model.

    Raises:
        UserError: when an argument is no path, without such a result or its weights, when the file of the
            weights is not the one that the result records, or when a definition in this version of bench is
            not the one that was trained.
    """
    try:
        from safetensors.torch import load as parsed
    except ImportError:
        raise UserError("kept weights need safetensors: pip install 'icl-bench[weights]'") from None

    check_type("which", which, str | Path, "the id of a run, or the path of its result file")
    check_type("results", results, str | Path, "the path of a folder of results")
    (path,) = pools.result_files([which], results)
    record, run = _recorded(path)
    weights = record.provenance.weights
    if weights is None:
        raise UserError(
            f"{path}: has no weights: withdraw the result and train again with bench run --keep-weights"
        )
    file = path.parent / weights.file
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None
    if hashlib.sha256(data).hexdigest() != weights.sha256:
        raise UserError(f"{file}: is not the file that {path.name} records: its SHA-256 differs")
    model = build(run, kernels)
    model.load_state_dict(parsed(data))
    return KeptModel(path, record, run, model.eval())


def _recorded(path: Path) -> tuple[RunRecord, Run]:
    """The result at `path` and the run that it records."""
    try:
        value: Any = parse_json(path.read_bytes())
        record = pools.read_run(value)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except (NotARecord, ValueError) as error:
        raise UserError(f"{path}: {error}") from None
    recorded = value["run"]
    task, architecture = TASKS.get(record.run.task.name), named(record.run.architecture.name)
    for kind, name, definition in (
        ("task", record.run.task.name, task),
        ("architecture", record.run.architecture.name, architecture),
    ):
        if definition is None:
            raise UserError(
                f"{path}: unknown {kind} '{name}'; load the plugin that defines it first "
                "(--plugin FILE, or bench.load_plugin)"
            )
    assert task is not None
    settings = {name: field for name, field in recorded["task"].items() if name != "version"}
    try:
        run = Run.model_validate(
            {**recorded, "task": task.model_validate(settings), "architecture": architecture}
        )
    except ValueError as error:  # also pydantic's
        raise UserError(f"{path}: this version of bench cannot build the model ({error})") from None
    if run.id != record.id:
        raise UserError(f"{path}: its task or architecture has another definition in this version of bench")
    return record, run


def state_dict_of(model: Model, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of a member of a stack: its own parameters, and what all members share, such as buffers.

    Args:
        model: the module of the stack.
        parameters: the member's trainable parameters by name.
    """
    return {name: parameters.get(name, tensor) for name, tensor in model.state_dict().items()}
