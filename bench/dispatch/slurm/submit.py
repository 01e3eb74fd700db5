"""Submit an order to Slurm (through submitit) as arrays of jobs, and cancel it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.dispatch.job import Machine
from bench.dispatch.order import Order
from bench.dispatch.slurm.grouping import Capacity, JobPlan, chunks
from bench.dispatch.slurm.job import SlurmJob
from bench.dispatch.slurm.queue import queue_of
from bench.dispatch.slurm.site import Site
from bench.dispatch.slurm.submission import Array, Submission, submissions, user_name
from bench.dispatch.status import Queue
from bench.errors import UserError

REQUEUES = 10_000
"""How often submitit may requeue a job; `SlurmJob` itself stops a job that makes no progress."""

LAUNCHER = (
    'sh -c \'if env --block-signal=USR2 true 2>/dev/null; then exec env --block-signal=USR2 "$@"; fi; '
    'exec "$@"\' sh'
)
"""Start Python with USR2 blocked: a warning that comes before its handler is then pending, and does not kill.

`SlurmJob` unblocks it. Where `env` has no such option (coreutils before 8.31), the signal is not blocked.
"""

CLEANING = (
    # Pickles are removed only when the function has returned a result: a requeued job needs them.
    "ended=$?",
    'job="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}}"; job="${job:-$SLURM_JOB_ID}"',
)


@dataclass(frozen=True)
class SlurmOptions:
    """How the jobs of an order run on the cluster.

    Attributes:
        site: the cluster's site file.
        machine: threads, backend of the kernels, seconds between checkpoints.
        spread: GPUs that each run is spread over.
        snapshot: whether jobs run a copy of the code as it is now.
    """

    site: Site
    machine: Machine
    spread: int = 1
    snapshot: bool = False

    def capacity(self, side_by_side: int = 1) -> Capacity:
        """What each job can do at a time.

        Args:
            side_by_side: runs that plan a GPU of known memory where the site names no `workers`.
        """
        if self.spread > 1:  # then a job is one crew, with a task for each of its processes
            return Capacity(1, 1, self.site.gpu_memory_mib)
        if not self.site.gpus:
            cores = (self.site.cpus_per_task or 1) // self.machine.threads
            return Capacity(self.site.workers or max(1, cores))
        sharing = side_by_side if self.site.gpu_memory_mib else 1
        workers = self.site.workers or sharing * self.site.gpus
        return Capacity(workers, self.site.gpus, self.site.gpu_memory_mib)


def check_slurm() -> None:
    """Refuse to submit where there is no Slurm.

    Raises:
        UserError: when its commands are not there.
    """
    missing = [name for name in ("sbatch", "squeue", "srun", "scontrol") if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"--cluster slurm: no {missing[0]} on this machine; run this where jobs are submitted from"
        )


def largest_array() -> int:
    """How many jobs one array may hold: the cluster's MaxArraySize (which bounds the index, from 0).

    Raises:
        UserError: when the controller does not answer.
    """
    try:
        process = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError("Slurm's controller does not answer; nothing was submitted") from None
    for line in process.stdout.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "MaxArraySize" and value.strip().isdigit():
            return max(1, int(value))
    reason = (process.stderr.strip().splitlines() or ["no MaxArraySize in its configuration"])[-1]
    raise UserError(f"Slurm's controller does not answer: {reason}; nothing was submitted")


def submit(order: Order, suite: str, jobs: Sequence[JobPlan], options: SlurmOptions) -> Submission:
    """Submit every job of an order, one `sbatch` for each array.

    Raises:
        UserError: when Slurm refuses, with its message and the number of accepted arrays.
    """
    arrays = chunks(jobs, largest_array())
    order.folder.mkdir(parents=True)
    submission = Submission(
        order.folder,
        suite,
        user_name(),
        tuple(
            Array(f"bench-{suite}-{order.stamp}-{number}", tuple(_ids(job) for job in array))
            for number, array in enumerate(arrays)
        ),
    )
    submission.write()  # first, so that accepted jobs are known even if this process dies
    side_by_side = max(1, options.site.array_parallelism // len(arrays))
    for number, array in enumerate(arrays):
        functions = [_function(order, job, options) for job in array]
        try:
            job_id = _submit_array(order, submission.arrays[number].name, functions, options, side_by_side)
        except UserError as error:
            submission = replace(submission, arrays=submission.arrays[:number])
            submission.tidy()
            if number:
                submission.write()
                raise UserError(f"{error}; {number} of {len(arrays)} arrays are queued") from None
            order.forget()
            raise
        submitted = list(submission.arrays)
        submitted[number] = replace(submitted[number], job_id=job_id)
        submission = replace(submission, arrays=tuple(submitted))
        submission.write()
    return submission


def _ids(plan: JobPlan) -> tuple[str, ...]:
    return tuple(job.id for job in plan.work)


def _function(order: Order, plan: JobPlan, options: SlurmOptions) -> SlurmJob:
    return SlurmJob(
        ids=_ids(plan),
        jobs=plan.work,
        order=order,
        machine=options.machine,
        device="cuda"
        if options.site.wants_gpus
        else "cpu",  # a job that asked for a GPU trains on nothing else
        workers=plan.workers,
        memory_mib=plan.memory_mib,
        spread=options.spread,
        save_seconds=max(5.0, 0.75 * options.site.signal_delay_s),
        limit_seconds=60.0 * options.site.minutes,
    )


def _submit_array(
    order: Order, name: str, functions: list[SlurmJob], options: SlurmOptions, side_by_side: int
) -> str:
    import submitit

    # Submitit does not quote this parameter: it is part of a shell command.
    python = f"{LAUNCHER} {options.site.python or shlex.quote(sys.executable)}"
    executor = submitit.SlurmExecutor(order.folder, max_num_timeout=REQUEUES, python=python)
    parameters = options.site.parameters(name, options.spread)
    parameters["array_parallelism"] = side_by_side
    folder = shlex.quote(order.folder.as_posix())  # a path may hold what a shell expands
    parameters["teardown"] = [
        *CLEANING,
        *options.site.teardown,
        f'[ -e {folder}/"${{job}}_0_result.pkl" ] && rm -f {folder}/"${{job}}"_*.pkl',
        "exit $ended",
    ]
    if options.snapshot:
        code = shlex.quote(str(snapshot(order)))
        parameters["setup"] += [f'export PYTHONPATH={code}"${{PYTHONPATH:+:$PYTHONPATH}}"', f"cd {code}"]
        if commit := described(order.code):
            parameters["setup"].append(f"export BENCH_COMMIT={commit}")
    try:
        executor.update_parameters(**parameters)
        submitted: list[Any] = executor.submit_array(functions)
    except submitit.core.utils.FailedJobError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[-1].removeprefix("sbatch: error: ") if lines else "nothing"
        raise UserError(f"sbatch refused: {reason}") from None
    return str(submitted[0].job_id).partition("_")[0]


def described(code: dict[str, Any]) -> str:
    """A code identity in the form that `BENCH_COMMIT` takes; "" where it is unknown."""
    commit = code.get("commit")
    return f"{commit}{'-dirty' if code.get('dirty') else ''}" if commit else ""


def snapshot(order: Order) -> Path:
    """Copy the package as it is now, once for an order; returns the folder to import it from."""
    import bench

    code = order.folder / "code"
    if not code.exists():
        half = order.folder / "code.half"
        source = Path(bench.__file__).parent
        shutil.copytree(source, half / "bench", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        half.rename(code)
    return code


def cancel(results: Path, suite: str) -> int:
    """Take a suite's jobs out of the queue, running ones too; returns how many there were.

    Raises:
        UserError: when Slurm cannot be asked.
    """
    submitted = [submission for submission in submissions(results) if submission.suite == suite]
    queue = queue_of(submitted)
    if submitted and not queue.answered:
        raise UserError(f"nothing was cancelled: {queue.problem}")
    if queue.jobs:
        process = subprocess.run(
            ["scancel", *sorted({job.partition("_")[0] for job in queue.jobs})],  # whole arrays
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if process.returncode:
            raise UserError(f"scancel: {process.stderr.strip() or 'failed'}")
    for submission in submitted:
        if _is_queued(submission, queue):
            submission.mark_cancelled()
    return len(queue.jobs)


def tidy(results: Path) -> None:
    """Remove what submitit left of submissions that have no job in the queue any more."""
    submitted = list(submissions(results))  # before the queue: what was accepted by now is in it
    queue = queue_of(submitted)
    if not queue.answered:
        return
    for submission in submitted:
        if not submission.going_on and not _is_queued(submission, queue):
            submission.tidy()


def _is_queued(submission: Submission, queue: Queue) -> bool:
    return any(run in queue.runs for array in submission.arrays for job in array.jobs for run in job)
