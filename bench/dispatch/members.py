"""The output of a stack in training: heartbeats, log lines, weights and results of its members."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import results as pools
from bench.dispatch.job import Machine, is_done
from bench.dispatch.order import Order
from bench.dispatch.plugin_checks import record_plugins
from bench.dispatch.state import Folder
from bench.dispatch.status import status_of
from bench.run import Run
from bench.stack import Stack

if TYPE_CHECKING:
    from torch import Tensor

    from bench.train.loop import Progress

LINE_EVERY_SECONDS = 30.0
"""Interval of progress lines in the log of a run."""


@dataclass
class StackMembers:
    """The members of a stack that a worker trains, and what they write.

    Attributes:
        stack: the runs.
        order: the order that the results belong to.
        machine: settings of the worker.
        job_field: the field `job` of heartbeats in a cluster job, else empty.
        provenance: makes the provenance of a result from the time at which the work began.
        failed: records the failure of a run, in the handler of the error.
    """

    stack: Stack
    order: Order
    machine: Machine
    job_field: dict[str, str]
    provenance: Callable[[float], dict[str, Any]]
    failed: Callable[[Folder, Exception], None]

    def __post_init__(self) -> None:
        results = self.order.results
        self.began, self._last_line = time.time(), 0.0
        self.folders = [Folder.of(results, run.id) for run in self.stack.members]
        self._ended = {k for k, run in enumerate(self.stack.members) if is_done(run, results)}
        self._faults: dict[int, Exception] = {}
        """By number of a member: why its weights could not be written."""
        self._last: Progress | None = None

    def begin(self) -> None:
        """Write the first heartbeats, with the step from which the training resumes."""
        self.report(first_progress(self.folders, Folder.of(self.order.results, self.stack.id)))

    def report(self, progress: Progress) -> None:
        """Write a heartbeat for every member in training, and from time to time a line into the log."""
        self._last = progress
        is_due = time.monotonic() - self._last_line >= LINE_EVERY_SECONDS
        if is_due or (progress.step == self.stack.first.steps and not progress.parts):
            self._last_line = time.monotonic()
            _print_progress(self.stack, progress)
        self._beat(progress)

    def interrupted(self) -> None:
        """Record that the training was asked to stop. The heartbeats stay, because they have the steps."""
        assert self._last is not None
        _print_progress(self.stack, self._last)
        print("asked to stop: saved, can resume from this step", flush=True)
        # Whoever sees this heartbeat looks into the log for the reason: it must be there already.
        self._beat(self._last, ended="asked to stop")

    def _beat(self, progress: Progress, **more: Any) -> None:
        """Write a heartbeat for every member in training."""
        for k, (run, folder) in enumerate(zip(self.stack.members, self.folders, strict=True)):
            if k not in self._ended:
                fields = heartbeat_fields(run, self.machine.device, self.began, progress, k)
                folder.beat(**fields, stack_id=self.stack.id, **self.job_field, **more)

    def keep_weights(self, k: int, tensors: dict[str, Tensor]) -> dict[str, str] | None:
        """Write the weights of member number `k`. Returns their entry in its result."""
        from bench.train import weights

        if k in self._ended:
            return None
        run = self.stack.members[k]
        try:
            return weights.save(pools.path_of(self.order.results, run), run.id, tensors)
        except Exception as error:  # this member fails in `store`; the others continue
            if no_room(error):
                raise
            self._faults[k] = error
            return None

    def store(self, k: int, result: dict[str, Any]) -> None:
        """Write the result of member number `k`, which has ended."""
        if k in self._ended:  # it ended before the stack was resumed
            return
        run = self.stack.members[k]
        result["provenance"].update(self.provenance(self.began))
        outcome = f"{result['outcome']}{': ' + result['reason'] if result['reason'] else ''}"
        print(outcome if len(self.stack) == 1 else f"{run.label}: {outcome}", flush=True)
        record_plugins(result, run.task, run.architecture)
        self._ended.add(k)
        try:
            if k in self._faults:
                raise self._faults[k]
            pools.store(pools.path_of(self.order.results, run), result, self.folders[k].path)
        except Exception as error:  # this member has failed; the others continue
            if no_room(error):
                raise
            self.failed(self.folders[k], error)
            return
        self.order.record_result()
        self.folders[k].clear()


def first_progress(folders: Sequence[Folder], saved: Folder) -> Progress:
    """What earlier processes have done of a stack, by the last heartbeats of its members.

    The last heartbeats are at the checkpoint or a little further. Members that ended have none.

    Args:
        folders: of the members.
        saved: the folder of the checkpoint. Without a checkpoint the training begins anew.
    """
    from bench.train.loop import Progress

    losses = (None,) * len(folders)
    if not saved.has_checkpoint():
        return Progress(0, losses, 0.0, 0, (0.0,) * len(folders), (0,) * len(folders))
    step, parts = max(folder.last_progress() for folder in folders)
    last = [status_of(folder.heartbeat() or {}) for folder in folders]
    return Progress(
        step,
        losses,
        0.0,
        parts,
        tuple(status.evaluation_seconds for status in last),
        tuple(status.evaluation_flops for status in last),
    )


def heartbeat_fields(
    run: Run, device: str, began: float, progress: Progress, member: int = 0
) -> dict[str, Any]:
    """The fields of a heartbeat of a member of a stack, by its number. `began`: when the work began."""
    return {
        "label": run.label,
        "device": device,
        "started": began,
        "steps": run.steps,
        "stack": len(progress.losses),
        "step": progress.step,
        "loss": progress.losses[member],
        "steps_per_second": progress.steps_per_second,
        "parts": progress.parts,
        "evaluation_seconds": progress.evaluation_seconds[member],
        "evaluation_flops": progress.evaluation_flops[member],
    }


def no_room(error: BaseException) -> bool:
    """Whether an error means that the disk or the user's quota is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _print_progress(stack: Stack, progress: Progress) -> None:
    losses = " ".join(f"{loss:.4g}" for loss in progress.losses if loss is not None)
    loss = f"  loss {losses}" if losses else ""
    speed = f"  {progress.steps_per_second:,.1f} steps/s" if progress.steps_per_second else ""
    evaluation = f"  evaluating, part {progress.parts + 1:,}" if progress.parts else ""
    stamp = time.strftime("%H:%M:%S")
    print(f"{stamp}  step {progress.step:,} of {stack.first.steps:,}{loss}{speed}{evaluation}", flush=True)
