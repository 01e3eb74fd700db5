"""Tables, figures and a page, computed from a suite and its results alone.

Importing this package loads nothing heavy: pandas and matplotlib come with `write_report`, torch never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.check import Verdict
    from bench.results import Pool
    from bench.suite import Suite


def write_report(
    suite: Suite,
    pool: Pool,
    folder: Path,
    states: Mapping[str, str] | None = None,
    verdicts: Sequence[Verdict] = (),
) -> list[Path]:
    """Write a suite's report into `folder`; the same results give the same bytes.

    Args:
        suite: what was planned.
        pool: the results there are; those of other suites are left out.
        folder: receives index.html, README.md, files.txt, suite.txt, figures/ and tables/. Files that an
            earlier report wrote there (its files.txt names them) and this one does not are removed.
        states: what is known of runs without a result, by run id; "failed" is counted and named,
            every other word leaves the run missing.
        verdicts: on the suite's claims (`bench.check.check`), shown first.

    Returns:
        The files written, index.html first.

    Raises:
        OSError: when the folder cannot be written.
        UserError: when the folder is the report of another suite file of that name.
    """
    from bench.report.figures.settings import import_matplotlib

    import_matplotlib()
    from bench.report.write import write

    return write(suite, pool, folder, states or {}, verdicts)
