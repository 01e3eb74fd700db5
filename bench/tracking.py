"""Experiment trackers: a process beside the training copies its record to Trackio or Weights & Biases.

    training ─→ results/.state/<id>/heartbeat.json, result files ─→ this process ─→ tracker

The process only reads files that the training writes anyway. A tracker that is slow, hangs or fails
therefore cannot slow or stop a run. The process is `python -m bench.tracking`. Its request is one line of
JSON on standard input: which runs to follow, and for which tracker. When standard input is closed, the
process reads the record a last time and ends.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.dispatch.state import Folder
from bench.errors import UserError, did_you_mean, on_one_line
from bench.files import read_json
from bench.results import STATE, path_of
from bench.run import Run

EVERY_SECONDS = 1.0
"""Time between two readings of the record."""
PATIENCE_SECONDS = 10.0
"""Time that the tracker has to finish once the training has ended."""
Event = tuple[int, dict[str, float]]
"""A step and its metrics."""


class Trackio:
    """A run in Trackio, which stores it on this machine unless its own variables name a server.

    Args:
        module: the package.
        project: name of the suite.
        run: the run's entry in the request of `Tracking.start`.
    """

    def __init__(self, module: Any, project: str, run: Mapping[str, Any]) -> None:
        self.run = module.init(
            project=project,
            name=run["name"],
            group=run["group"],
            config=run["config"],
            resume="allow",
            auto_log_gpu=False,
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Store the metrics of a step."""
        self.run.log(dict(metrics), step=step)

    def finish(self) -> None:
        """End the run."""
        self.run.finish()


class WeightsAndBiases:
    """A run in Weights & Biases: offline, unless WANDB_MODE or an API key is set.

    Args:
        module: the package.
        project: name of the suite.
        run: the run's entry in the request of `Tracking.start`.
    """

    def __init__(self, module: Any, project: str, run: Mapping[str, Any]) -> None:
        is_online = "WANDB_API_KEY" in os.environ or "WANDB_MODE" in os.environ
        self.run = module.init(
            project=project,
            name=run["name"],
            id=run["id"],
            group=run["group"],
            config=run["config"],
            resume="allow",
            reinit="create_new",  # many runs train at the same time
            mode=os.environ.get("WANDB_MODE") if is_online else "offline",
            dir=run["folder"],
        )
        # Evaluations come with the result, after losses of later steps. So the step is a metric of its own.
        self.run.define_metric("*", step_metric="step")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Store the metrics of a step."""
        self.run.log({**metrics, "step": step})

    def finish(self) -> None:
        """End the run."""
        self.run.finish()


TRACKERS: dict[str, type[Trackio] | type[WeightsAndBiases]] = {"trackio": Trackio, "wandb": WeightsAndBiases}
"""Trackers by the name of their package."""


def check(name: str) -> None:
    """Refuse a tracker that is unknown or not installed.

    Raises:
        UserError: the tracker is unknown or not installed; the message states the valid names or the command.
    """
    if name not in TRACKERS:
        raise UserError(f"--track {name}{did_you_mean(name, TRACKERS)}")
    if importlib.util.find_spec(name) is None:
        raise UserError(f"--track {name} needs the package {name}: pip install 'icl-bench[tracking]'")


@dataclass
class Tracking:
    """A running tracker process, as a context. Leaving the context ends the process.

    Attributes:
        process: the process.
        log: the file with its output.
        patience: seconds that it has to finish when the context is left.
        warning: why the tracker did not finish; "" if it did. It is set when the context is left.
    """

    process: subprocess.Popen[bytes]
    log: Path
    patience: float = PATIENCE_SECONDS
    warning: str = ""

    @classmethod
    def start(cls, tracker: str, project: str, runs: Iterable[Run], results: Path) -> Tracking:
        """Start a process that follows these runs."""
        request = {
            "tracker": tracker,
            "project": project,
            "results": str(results),
            "runs": [
                {
                    "id": run.id,
                    "name": f"{run.task.name}/{run.label}",
                    "group": run.task.name,
                    "config": {**run.identity(), "parameters": run.parameters},
                    "result": str(path_of(results, run)),
                    "folder": str(results / STATE),
                }
                for run in runs
            ],
        }
        log = results / STATE / "logs" / "tracking.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            # A session of its own: Ctrl-C ends the training. This process then reads the record a last time.
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.tracking"],
                stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        tracking = cls(process, log)
        # The pipe may be full before the process reads. Writing must not wait for that.
        threading.Thread(target=tracking._send, args=(json.dumps(request).encode(),), daemon=True).start()
        return tracking

    def _send(self, request: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.write(request + b"\n")
            self.process.stdin.flush()

    def __enter__(self) -> Tracking:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process: let it finish, and end it by force if it does not."""
        closing = threading.Thread(target=self._close, daemon=True)
        closing.start()
        try:
            code = self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            self.warning = f"it did not finish within {self.patience:g} s"
            return
        if code != 0:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
            reason = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
            self.warning = reason.strip()[:300]

    def _close(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.close()


@dataclass
class Follower:
    """The record of one run, read piece by piece.

    Attributes:
        result: the path of its result.
        folder: its state folder.
        step: the last step whose loss was read.
        ended: whether the result was read.
    """

    result: Path
    folder: Folder
    step: int = -1
    ended: bool = False

    def events(self) -> Iterator[Event]:
        """What is new since the last call: the loss of training, then the evaluations of the result."""
        beat = self.folder.heartbeat() or {}
        step = int(beat.get("step", 0))
        if step > self.step and beat.get("loss") is not None:
            self.step = step
            speed = float(beat.get("steps_per_second", 0))
            yield step, {"train/loss": float(beat["loss"]), "train/steps_per_second": speed}
        if not self.ended and self.result.exists():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
                events = list(_evaluations(read_json(self.result)))
                self.ended = True
                yield from events


def _evaluations(result: Mapping[str, Any]) -> Iterator[Event]:
    """The mean scores of every checkpoint of a result, with the FLOPs up to it."""
    for checkpoint in result["checkpoints"]:
        metrics = {"flops": float(checkpoint["training_flops_full_length"])}
        for name, scores in checkpoint["evaluations"].items():
            metrics[f"evaluation/{name}"] = float(scores["overall"][0])
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        yield int(checkpoint["step"]), finite


def follow(request: Mapping[str, Any], ended: threading.Event) -> None:
    """Copy the record of all runs to the tracker until `ended` is set, and then once more.

    Args:
        request: the line that `Tracking.start` sends: tracker, project, folder of results, and runs.
        ended: set when the training has ended.
    """
    module, begin = importlib.import_module(request["tracker"]), TRACKERS[request["tracker"]]
    results = Path(request["results"])
    followers = {
        run["id"]: Follower(Path(run["result"]), Folder.of(results, run["id"])) for run in request["runs"]
    }
    runs = {run["id"]: run for run in request["runs"]}
    begun: dict[str, Trackio | WeightsAndBiases] = {}
    while True:
        is_last = ended.wait(EVERY_SECONDS)
        for key, follower in list(followers.items()):
            for step, metrics in follower.events():
                if key not in begun:
                    begun[key] = begin(module, request["project"], runs[key])
                begun[key].log(step, metrics)
            if follower.ended:
                del followers[key]
                if key in begun:
                    begun.pop(key).finish()
        if is_last or not followers:
            break
    for started in begun.values():
        started.finish()


def main() -> None:
    """Read the request from standard input and follow its runs. If that fails, the last line is the error."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(10)  # the training goes first
    request = json.loads(sys.stdin.buffer.readline())
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.buffer.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    code = 0
    try:
        follow(request, ended)
    except BaseException as error:
        print(on_one_line(error), file=sys.stderr)
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads of a tracker that failed may never end


if __name__ == "__main__":
    main()
