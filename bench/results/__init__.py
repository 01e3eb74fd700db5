"""Results on disk: one JSON file per run, one per task's baselines, in one pool whatever the suite.

`record` states what a file holds; `reading` makes a record of it, or lists its faults; `store` reads and
writes folders of them; `withdrawn` lists those that no longer count. `evaluations`, `horizon` and
`flops_axis` state how a record's numbers are read, and `pieces` which process trained which steps. `table`,
`long` and `export` make data frames; `compare` compares two folders. Reading never writes.
"""

from bench.results.facts import run_facts, task_facts
from bench.results.reading import NotARecord, read_run
from bench.results.record import (
    FORMAT,
    BaselinesRecord,
    Checkpoint,
    Provenance,
    Record,
    RunRecord,
    per_prompt,
)
from bench.results.store import (
    STATE,
    NotStored,
    Pool,
    check_writable,
    id_in,
    load,
    load_baselines,
    load_run,
    path_of,
    path_of_baselines,
    require,
    result_files,
    store,
)
from bench.results.table import COLUMNS, frame
from bench.results.withdrawn import Withdrawal, withdrawals

__all__ = [
    "COLUMNS",
    "FORMAT",
    "STATE",
    "BaselinesRecord",
    "Checkpoint",
    "NotARecord",
    "NotStored",
    "Pool",
    "Provenance",
    "Record",
    "RunRecord",
    "Withdrawal",
    "check_writable",
    "frame",
    "id_in",
    "load",
    "load_baselines",
    "load_run",
    "path_of",
    "path_of_baselines",
    "per_prompt",
    "read_run",
    "require",
    "result_files",
    "run_facts",
    "store",
    "task_facts",
    "withdrawals",
]
