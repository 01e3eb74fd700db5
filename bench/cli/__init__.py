"""The commands. Only this package prints errors and exits. Heavy modules are imported where they are used."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `bench` command."""
    try:  # also around the imports, so that a stop during an import ends the command without a traceback
        from bench.cli import signals

        signals.listen()
        _run()
    except SystemExit:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):  # perhaps before `listen`
            sys.exit(130)
        from bench.cli import signals

        # Not the exception's type: what is raised while a class is made becomes a RuntimeError before Python
        # 3.12, and a SchemaError where pydantic builds a validator.
        if signals.received is not None:
            sys.exit(signals.exit_code(signals.received))
        raise


def _run() -> None:
    """Run the command of this process; print its error, if any, in lines without a traceback."""
    import errno
    import gc

    from bench.cli import stdout
    from bench.errors import InvalidFile, UserError

    gc.set_threshold(100_000)  # results contain no cycles; the search for them takes a fifth of a status
    try:
        stdout.open_closed()
        stdout.settle_width()
        stdout.data_stream()  # help and errors may contain letters that the terminal lacks
        from bench.cli.app import app

        app()
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # of help, for which Typer exits with 1
            sys.exit(stdout.READER_LEFT)
        raise
    except UserError as error:
        lines = error.problems if isinstance(error, InvalidFile) else [f"bench: {error}"]
        code = error.exit_code
    except OSError as error:  # a folder that cannot be written, a full disk
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        if error.filename is None:  # a file is written by `write_atomically`, which names it
            stdout.abandon()
        place = "the output cannot be written" if error.filename is None else error.filename
        cure = {
            errno.ENOSPC: "free some space and repeat the command",
            errno.EDQUOT: "free some space and repeat the command",
            errno.EROFS: "choose another folder",
            errno.EACCES: "check its permissions or choose another folder",
        }.get(error.errno or 0)
        lines = [f"bench: {place}: {error.strerror}" + (f"; {cure}" if cure else "")]
        code = UserError.exit_code
    for line in lines:
        print(line, file=sys.stderr)
    sys.exit(code)
