"""A process that has imported `bench` and forks: commands of tests start without seconds of imports.

A fork is a process of its own, with its own folder, environment, streams and exit code. It runs
`python -m bench`, then what was registered for the end of the interpreter, and leaves. It does not take apart
what it shares with its parent: to free the modules of torch and matplotlib takes longer than most commands.
What happens before that (the start of Python, the order of imports) and the whole end are tested by the tests
that start Python themselves.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import gc
import importlib
import json
import multiprocessing.process
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORK_SECONDS = 20
"""How long a fork is tried on a machine that has no room for another process."""
LIGHT = (
    "multiprocessing.resource_tracker",
    "multiprocessing.spawn",
    "rich.progress",
    "rich.table",
    "bench.cli.app",
    *(f"bench.cli.{name}" for name in ("check", "compare", "failures", "logs", "plan", "run", "schema")),
    *(f"bench.cli.{name}" for name in ("export", "report", "speed", "status", "tasks", "withdraw")),
)
"""What most commands import."""
HEAVY = {
    "report": (
        "bench.report.figures",
        "seaborn",
        "bench.report.write",
        "matplotlib.backends.backend_svg",
        "matplotlib.backends.backend_pdf",
    ),
    "compare": ("numpy",),
    "tasks": ("torch",),
}
"""What a command needs beyond that, imported when it is called for the first time."""


class Server:
    """The process that forks, as its client sees it."""

    def __init__(self) -> None:
        self._socket, end = socket.socketpair()
        with end:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(end.fileno())],
                pass_fds=[end.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        self._replies = self._socket.makefile("r", encoding="utf-8")

    def run(
        self, arguments: list[str], cwd: Path, environment: dict[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Run `bench` to its end, without an input."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            request = {"arguments": arguments, "cwd": str(cwd), "environment": environment}
            message = json.dumps(request).encode()
            socket.send_fds(self._socket, [b"%16d" % len(message)], [out.fileno(), errors.fileno()])
            self._socket.sendall(message)
            pid = int(self._replies.readline())
            self._socket.settimeout(timeout)
            try:
                code = int(self._replies.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                self.close()
                raise
            self._socket.settimeout(None)
            texts = []
            for file in (out, errors):
                file.seek(0)
                texts.append(file.read().decode())
        return subprocess.CompletedProcess(["bench", *arguments], code, *texts)

    def alive(self) -> bool:
        """Whether it can take another command."""
        return not self._replies.closed and self._process.poll() is None

    def close(self) -> None:
        """End the process; it ends by itself when the tests have ended."""
        self._replies.close()
        self._socket.close()
        self._process.wait()


def _serve(connection: socket.socket) -> dict[str, object] | None:
    """Fork for every request; returns the request in the process that is to answer it, None at the end."""
    for name in LIGHT:
        importlib.import_module(name)
    while True:
        head, descriptors = b"", array.array("i")
        while len(head) < 16:
            data, received, _, _ = socket.recv_fds(connection, 16 - len(head), 2)
            if not data:
                return None
            head += data
            descriptors.extend(received)
        message = b""
        while len(message) < int(head):
            message += connection.recv(int(head) - len(message))
        request: dict[str, object] = json.loads(message)
        arguments = request["arguments"]
        assert isinstance(arguments, list)
        for name in HEAVY.get(arguments[0] if arguments else "", ()):
            importlib.import_module(name)
        gc.freeze()
        pid = _fork()
        if not pid:
            connection.close()
            for stream, descriptor in enumerate(descriptors, start=1):
                os.dup2(descriptor, stream)
                os.close(descriptor)
            return request
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(b"%d\n" % pid)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(b"%d\n" % status)


def _fork() -> int:
    """Fork; wait while the machine has no room for another process."""
    deadline = time.monotonic() + FORK_SECONDS
    while True:
        try:
            return os.fork()
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _become(request: dict[str, object]) -> None:
    """Run the command as `python -m bench` does in a fresh process."""
    arguments, cwd, environment = request["arguments"], request["cwd"], request["environment"]
    assert isinstance(arguments, list)
    assert isinstance(environment, dict)
    os.chdir(str(cwd))
    os.environ.clear()
    os.environ.update(environment)
    folders = [folder for folder in os.environ["PYTHONPATH"].split(os.pathsep) if folder not in sys.path]
    sys.path[:1] = [str(cwd), *folders]
    multiprocessing.process.ORIGINAL_DIR = str(cwd)  # type: ignore[attr-defined]
    sys.argv[1:] = arguments
    code: object = None
    try:
        runpy.run_module("bench", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
        if not isinstance(code, int | None):
            raise
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        asked = _serve(parent)
    if asked is not None:
        _become(asked)
