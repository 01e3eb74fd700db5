"""An order: the runs that one `bench run` asks for, on any machines.

    results/.state/orders/<stamp>/  works           exists once a run of the order has a result
                                    abandoned.json  why the order was abandoned: its other runs do not start

Every worker gets the order. It records the submitted code, so that a result can state whether other code
computed it. It also lists all runs: if the first ones all fail with one cause, the order is abandoned before
thousands fail.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.dispatch.failure_causes import cause
from bench.dispatch.state import Folder
from bench.files import read_json, write_json
from bench.results import STATE

ABANDON_AFTER = 5
"""The order is abandoned if so many runs fail with one cause before any run has a result."""
ABANDONED = "abandoned.json"
FORMER_ABANDONED = "stopped.json"
"""The name of this file in orders of earlier versions."""


def new_stamp() -> str:
    """A unique name for an order, which begins with the time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"


@dataclass(frozen=True)
class Order:
    """The runs that one `bench run` asks for.

    Attributes:
        results: the pool of results, absolute.
        runs: ids of the runs.
        code: `bench.environment.code_identity()` of the `bench run`.
        stamp: name of the order.
        began: time of the order, seconds since 1970.
    """

    results: Path
    runs: tuple[str, ...]
    code: dict[str, Any]
    stamp: str = field(default_factory=new_stamp)
    began: float = field(default_factory=time.time)

    @property
    def folder(self) -> Path:
        return orders_folder(self.results) / self.stamp

    def make_folder(self) -> None:
        """Create the folder of the order if it does not exist."""
        while True:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                return
            except FileNotFoundError:  # another order has just removed the folder above (`forget`)
                continue

    def record_result(self) -> None:
        """Record that a run has a result. From now on, the order is not abandoned."""
        if not (self.folder / "works").exists():
            self.make_folder()
            (self.folder / "works").touch()

    def consider_abandoning(self) -> None:
        """Abandon the order if its first runs all failed with one cause."""
        if (self.folder / "works").exists() or self.abandoned():
            return
        failures = [
            failure
            for run_id in self.runs
            if (failure := Folder.of(self.results, run_id).failure()) and failure.get("time", 0) >= self.began
        ]
        if len(failures) >= ABANDON_AFTER and len({cause(failure) for failure in failures}) == 1:
            last = failures[-1]
            reason = (
                f"the first {len(failures)} runs failed alike: {last.get('class')}: {last.get('message')}"
            )
            self.abandon(reason)

    def abandon(self, reason: str) -> None:
        """Abandon the order: workers start no more of its runs."""
        self.make_folder()
        write_json(self.folder / ABANDONED, {"reason": reason, "time": time.time()})

    def abandoned(self) -> str | None:
        """Why the order was abandoned; None if it was not."""
        return abandoned(self.folder)

    def forget(self) -> None:
        """Remove the files of the order."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()  # if it was the last order


def orders_folder(results: Path) -> Path:
    """The folder with the files of all orders."""
    return results / STATE / "orders"


def abandoned(folder: Path) -> str | None:
    """Why the order of a folder was abandoned; None if it was not."""
    for name in (ABANDONED, FORMER_ABANDONED):
        try:
            return str(read_json(folder / name)["reason"])
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError):
            return f"{name} cannot be read"
    return None
