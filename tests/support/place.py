"""A folder with a suite on a cluster, and the `bench` command in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, eventually
from command import PATIENCE, ROOT, SECONDS, server

from bench import results as pools
from bench import suite as suites
from bench.dispatch.state import Folder
from bench.results import STATE
from bench.run import Run

REQUIRED = "BENCH_REQUIRE_SLURM"
"""Set by CI: a machine without Slurm is then a failure, where it otherwise is a reason to skip."""

SUITE = """
name: toy
experiments:
  toy:
    tasks: [{name: linear_regression, n_dims: 3, n_points: 5}]
    architectures: [transformer]
    sizes: [{layers: 1, width: 16, heads: 4}]
    learning_rates: [1e-3, 2e-3]
    batch_size: 16
    steps: STEPS
    evaluation_prompts: 32
"""
STEPS = 600
"""A run of several seconds: long enough to be disturbed, short enough to be waited for."""
ENDLESS = 50_000_000


@dataclass
class Place:
    """A folder with a suite, a site file and results, and the `bench` command in it."""

    cluster: Cluster
    folder: Path

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def suite(self) -> Path:
        return self.folder / "toy.yaml"

    @property
    def runs(self) -> tuple[Run, ...]:
        return suites.load(self.suite).runs

    def write(self, steps: int = STEPS, suite: str = SUITE, **site: Any) -> None:
        """Write the suite and the site file; JSON is YAML."""
        self.suite.write_text(suite.replace("STEPS", str(steps)))
        plain = {"device": "cpu", "gpus_per_node": 0, "cpus_per_task": 1, "job_hours": 1e-4}
        site = {**plain, "timeout_min": 30, "signal_delay_s": 20, **site}
        (self.folder / "site.yaml").write_text(json.dumps({k: v for k, v in site.items() if v is not None}))

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        """The command, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "bench", *map(str, arguments)],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**self.cluster.environment, "PYTHONPATH": str(ROOT), **environment},
        )

    def bench(self, *arguments: object, code: int = 0, **environment: str) -> str:
        """Output of the command, which ends with `code`. It forks unless it has an environment of its own."""
        if not environment:
            variables = {**self.cluster.environment, "PYTHONPATH": str(ROOT)}
            done = server().run(list(map(str, arguments)), self.folder, variables, SECONDS)
            assert done.returncode == code, done.stdout + done.stderr
            return done.stdout + done.stderr
        process = self.start(*arguments, **environment)
        try:
            output, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(f"{arguments} did not end: {process.communicate()[0]}")
        assert process.returncode == code, output
        return output

    def submit(self, *more: object, code: int = 0, **environment: str) -> str:
        """`bench run` on the cluster, a checkpoint at every look."""
        options = ("--cluster", "slurm", "--cluster-config", "site.yaml", "--save-every", 0, "--yes")
        return self.bench("run", "toy.yaml", *options, *more, code=code, **environment)

    def status(self) -> dict[str, Any]:
        """`bench status --json`."""
        found: dict[str, Any] = json.loads(self.bench("status", "toy.yaml", "--json"))
        return found

    def beat(self, run: Run) -> dict[str, Any]:
        """A run's heartbeat; empty when there is none."""
        return Folder.of(self.results, run.id).heartbeat() or {}

    def await_beat(
        self, run: Run, condition: Callable[[dict[str, Any]], object], what: str
    ) -> dict[str, Any]:
        """Wait for a heartbeat with some property. Returns that one: the next may be another process's."""
        beats: list[dict[str, Any]] = []

        def has_come() -> object:
            beats.append(self.beat(run))
            return beats[-1] and condition(beats[-1])

        eventually(has_come, PATIENCE, lambda: f"{what}: {beats[-1]}; queue {self.cluster.listed()}")
        return beats[-1]

    def await_steps(self, run: Run, beyond: int = 0) -> dict[str, Any]:
        """Wait until a run has a checkpoint and is beyond some step; its heartbeat then."""
        checkpoint = self.results / STATE / run.id / "checkpoint.pt"
        return self.await_beat(
            run,
            lambda beat: beat.get("step", 0) > beyond and checkpoint.exists(),
            f"{run.label} gets beyond step {beyond}",
        )

    def await_finish(self, seconds: float = SECONDS) -> None:
        """Wait until every run has a result."""
        left = {run.id: pools.path_of(self.results, run) for run in self.runs}

        def done() -> bool:
            for run_id in [run_id for run_id, path in left.items() if path.exists()]:
                del left[run_id]
            return not left

        eventually(done, seconds, lambda: f"results of {left}; queue {self.cluster.listed()}")

    def await_quiet(self) -> None:
        """Wait until nothing is queued. Asked twice: a job that is requeued is absent for a moment."""

        def is_empty() -> bool:
            if self.cluster.queue():
                return False
            time.sleep(0.5)
            return not self.cluster.queue()

        eventually(is_empty, PATIENCE, lambda: f"the queue is empty: {self.cluster.listed()}")

    def numbers(self, results: str = "results") -> dict[str, str]:
        """Every result without its provenance, as bytes."""
        pool = pools.load(self.folder / results)
        assert pool.problems == []
        return {
            run_id: result.model_dump_json(exclude={"provenance"}) for run_id, result in pool.runs.items()
        }

    def log(self, run: Run) -> str:
        return (self.results / STATE / "logs" / f"{run.id}.log").read_text()
