"""An order: the runs that one `bench run` asks for, wherever they train.

    results/.state/orders/<stamp>/  works         some run of it ended with a result
                                    stopped.json  it was called off, and why

Every worker of an order knows it: the code that was submitted, so that a result can say when it was
computed with other code; and the other runs, so that a cause that fails the first of them stops the
rest instead of failing a thousand.
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

STOP_AFTER = 5
"""So many first runs that all fail with one cause call the rest off."""


def new_stamp() -> str:
    """A name for an order: when it was made, and something that no other has."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"


@dataclass(frozen=True)
class Order:
    """What one `bench run` asks for.

    Attributes:
        results: the pool of results, absolute.
        runs: ids of the runs asked for.
        code: `bench.environment.code_identity()` of the process that asked.
        stamp: names the order.
        began: when it was made, seconds since 1970.
    """

    results: Path
    runs: tuple[str, ...]
    code: dict[str, Any]
    stamp: str = field(default_factory=new_stamp)
    began: float = field(default_factory=time.time)

    @property
    def folder(self) -> Path:
        return orders_folder(self.results) / self.stamp

    def works(self) -> None:
        """Note that a run ended with a result: from now on failures are the runs' own."""
        if not (self.folder / "works").exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "works").touch()

    def consider_stopping(self) -> None:
        """Call the order off when its first runs all failed, and for the same reason."""
        if (self.folder / "works").exists() or self.stopped():
            return
        failures = [
            failure
            for run_id in self.runs
            if (failure := Folder.of(self.results, run_id).failure()) and failure.get("time", 0) >= self.began
        ]
        if len(failures) >= STOP_AFTER and len({cause(failure) for failure in failures}) == 1:
            last = failures[-1]
            reason = (
                f"the first {len(failures)} runs failed alike: {last.get('class')}: {last.get('message')}"
            )
            self.stop(reason)

    def stop(self, reason: str) -> None:
        """Call the order off: workers start nothing further of it."""
        write_json(self.folder / "stopped.json", {"reason": reason, "time": time.time()})

    def stopped(self) -> str | None:
        """Why the order was called off; None while it stands."""
        return stopped(self.folder)

    def forget(self) -> None:
        """Remove what the order left."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()  # when it was the last


def orders_folder(results: Path) -> Path:
    """Where orders leave their traces."""
    return results / STATE / "orders"


def stopped(folder: Path) -> str | None:
    """Why the order of a folder was called off; None while it stands."""
    try:
        return str(read_json(folder / "stopped.json")["reason"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        return "for a reason that cannot be read"
