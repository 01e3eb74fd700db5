"""The commands. The only place that prints errors and exits; what is heavy is imported where it is used."""

from __future__ import annotations

import sys

from bench.errors import InvalidFile, UserError


def main() -> None:
    """Entry point of the `bench` command."""
    from bench.cli.app import app

    try:
        app()
    except UserError as error:
        lines = error.problems if isinstance(error, InvalidFile) else [f"bench: {error}"]
        for line in lines:
            print(line, file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader of our output went away: `bench plan … | head`
        sys.stderr.close()
        sys.exit(0)
