"""Submit an order to Slurm (through submitit) as arrays of jobs, and cancel it."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.dispatch.job import Machine
from bench.dispatch.order import Order
from bench.dispatch.slurm.commands import NoAnswer, output_of
from bench.dispatch.slurm.grouping import Capacity, JobPlan
from bench.dispatch.slurm.job import SlurmJob
from bench.dispatch.slurm.queue import queue_of
from bench.dispatch.slurm.site import Site
from bench.dispatch.slurm.submission import Array, Submission, submissions, user_name
from bench.dispatch.status import Queue
from bench.errors import UserError
from bench.stack import even_parts

REQUEUES = 10_000
"""How often submitit may requeue a job. A job without progress is stopped by `SlurmJob.checkpoint`."""

SCONTROL_SECONDS = 60.0
"""Longest wait for scontrol."""

SCANCEL_SECONDS = 120.0
"""Longest wait for scancel."""

LAUNCHER = (
    'sh -c \'if env --block-signal=USR2 true 2>/dev/null; then exec env --block-signal=USR2 "$@"; fi; '
    'exec "$@"\' sh'
)
"""Shell words that start Python with USR2 blocked.

A warning that arrives before Python has a handler is then pending and does not kill the process. `SlurmJob`
unblocks the signal. If `env` has no such option (coreutils before 8.31), the signal is not blocked.
"""

CLEANING = (
    "ended=$?",
    'job="${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}}"; job="${job:-$SLURM_JOB_ID}"',
)
"""Shell lines that run first after a job: they keep its exit code and the prefix of its files."""


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

    def capacity(self) -> Capacity:
        """What each job can do at a time."""
        if self.spread > 1:  # a job is one crew, with a task for each process
            return Capacity(1, 1, self.site.gpu_memory_mib)
        if not self.site.gpus:
            cores = (self.site.cpus_per_task or 1) // self.machine.threads
            return Capacity(self.site.workers or max(1, cores))
        return Capacity(self.site.workers or self.site.gpus, self.site.gpus, self.site.gpu_memory_mib)


def check_slurm() -> None:
    """Check that this machine has Slurm's commands.

    Raises:
        UserError: a command is missing.
    """
    missing = [name for name in ("sbatch", "squeue", "srun", "scontrol") if shutil.which(name) is None]
    if missing:
        raise UserError(
            f"--cluster slurm: no {missing[0]} on this machine; run this where jobs are submitted from"
        )


def largest_array() -> int:
    """Largest number of jobs in an array: the cluster's MaxArraySize, which bounds indices from 0.

    Raises:
        UserError: the controller does not answer, or its configuration has no such entry.
    """
    try:
        configuration = output_of("scontrol", "show", "config", seconds=SCONTROL_SECONDS)
    except NoAnswer as problem:
        raise UserError(f"Slurm's controller does not answer: {problem}; nothing was submitted") from None
    for line in configuration.splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "MaxArraySize" and value.strip().isdigit():
            return max(1, int(value))
    raise UserError("scontrol show config: no MaxArraySize in the configuration; nothing was submitted")


def submit(order: Order, suite: str, plans: Sequence[JobPlan], options: SlurmOptions) -> Submission:
    """Submit the jobs of an order, with one `sbatch` per array.

    Args:
        order: the order.
        suite: the suite's name.
        plans: the work of each job.
        options: how jobs run.

    Raises:
        UserError: Slurm refuses; the message is Slurm's, with the number of accepted arrays.
    """
    arrays = even_parts(plans, largest_array())
    order.make_folder()
    submission = Submission(
        order.folder,
        suite,
        user_name(),
        tuple(
            Array(f"bench-{suite}-{order.stamp}-{number}", tuple(_ids(plan) for plan in array))
            for number, array in enumerate(arrays)
        ),
    )
    submission.write()  # first, so that accepted jobs are known even if this process dies
    parallelism = max(1, options.site.array_parallelism // len(arrays))
    for number, array in enumerate(arrays):
        slurm_jobs = [_slurm_job(order, plan, options) for plan in array]
        try:
            job_id = _submit_array(order, submission.arrays[number].name, slurm_jobs, options, parallelism)
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


def _slurm_job(order: Order, plan: JobPlan, options: SlurmOptions) -> SlurmJob:
    return SlurmJob(
        ids=_ids(plan),
        jobs=plan.work,
        order=order,
        machine=options.machine,
        device="cuda" if options.site.wants_gpus else "cpu",  # never auto: a job with a broken GPU must fail
        workers=plan.workers,
        memory_mib=plan.memory_mib,
        spread=options.spread,
        save_seconds=max(5.0, 0.75 * options.site.signal_delay_s),
        limit_seconds=60.0 * options.site.minutes,
    )


def _submit_array(
    order: Order, name: str, jobs: Sequence[SlurmJob], options: SlurmOptions, parallelism: int
) -> str:
    """Submit an array and return Slurm's number for it.

    Args:
        order: the order.
        name: the name of the jobs.
        jobs: the jobs, by index.
        options: how jobs run.
        parallelism: largest number of jobs of the array that run at a time.

    Raises:
        UserError: Slurm refuses.
    """
    import submitit

    # Submitit puts this into a shell command without quotes.
    python = f"{LAUNCHER} {options.site.python or shlex.quote(sys.executable)}"
    executor = submitit.SlurmExecutor(order.folder, max_num_timeout=REQUEUES, python=python)
    parameters = options.site.parameters(name, options.spread)
    parameters["array_parallelism"] = parallelism
    folder = shlex.quote(order.folder.as_posix())
    parameters["teardown"] = [
        *CLEANING,
        *options.site.teardown,
        # A job that is requeued needs its pickles, so they stay until it has returned a result.
        f'[ -e {folder}/"${{job}}_0_result.pkl" ] && rm -f {folder}/"${{job}}"_*.pkl',
        "exit $ended",
    ]
    if options.snapshot:
        code = shlex.quote(str(snapshot(order)))
        parameters["setup"] += [f'export PYTHONPATH={code}"${{PYTHONPATH:+:$PYTHONPATH}}"', f"cd {code}"]
        if commit := commit_text(order.code):
            parameters["setup"].append(f"export BENCH_COMMIT={commit}")
    try:
        executor.update_parameters(**parameters)
        submitted: list[Any] = executor.submit_array(list(jobs))
    except submitit.core.utils.FailedJobError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        reason = lines[-1].removeprefix("sbatch: error: ") if lines else "nothing"
        raise UserError(f"sbatch refused: {reason}") from None
    return str(submitted[0].job_id).partition("_")[0]


def commit_text(code: dict[str, Any]) -> str:
    """A code identity as the variable `BENCH_COMMIT` has it, such as 1a2b3c-dirty; "" if it is unknown."""
    commit = code.get("commit")
    return f"{commit}{'-dirty' if code.get('dirty') else ''}" if commit else ""


def snapshot(order: Order) -> Path:
    """Copy the package as it is now, once per order. Returns the folder from which to import it."""
    import bench

    code = order.folder / "code"
    if not code.exists():
        half = order.folder / "code.half"
        source = Path(bench.__file__).parent
        shutil.copytree(source, half / "bench", ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        half.rename(code)
    return code


def cancel(results: Path, suite: str) -> int:
    """Cancel a suite's queued and running jobs. Returns their number.

    Raises:
        UserError: Slurm does not answer, or refuses.
    """
    submitted = [submission for submission in submissions(results) if submission.suite == suite]
    queue = queue_of(submitted)
    if submitted and not queue.answered:
        raise UserError(f"nothing was cancelled: {queue.problem}")
    marked = [entry for entry in submitted if _is_queued(entry, queue) and not entry.cancelled]
    for submission in marked:
        submission.mark_cancelled()  # first: whoever finds that the jobs are gone looks for the reason
    if arrays := {job.partition("_")[0] for job in queue.jobs}:
        try:
            output_of("scancel", *sorted(arrays), seconds=SCANCEL_SECONDS)
        except NoAnswer as problem:
            for submission in marked:
                submission.unmark_cancelled()
            raise UserError(f"jobs may still be queued: {problem}; see squeue, and try again") from None
    return len(queue.jobs)


def tidy(results: Path) -> None:
    """Remove files that submissions without a job in the queue no longer need."""
    submitted = list(submissions(results))  # before the queue is asked: it then contains their jobs
    queue = queue_of(submitted)
    if not queue.answered:
        return
    for submission in submitted:
        if not submission.may_be_unfinished and not _is_queued(submission, queue):
            submission.tidy()


def _is_queued(submission: Submission, queue: Queue) -> bool:
    return any(run in queue.runs for array in submission.arrays for job in array.jobs for run in job)
