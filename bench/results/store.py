"""Pools of results, which are folders: read a whole pool, find one result, store one result."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.errors import UserError, did_you_mean
from bench.files import json_bytes, parse_json, try_to_write, write_atomically
from bench.models.sizes import size_key
from bench.results.reading import NotARecord, read, read_evaluation
from bench.results.record import BaselinesRecord, EvaluationRecord, Record, RunRecord, same_numbers
from bench.results.withdrawn import FILE as WITHDRAWN
from bench.results.withdrawn import Withdrawal, is_withdrawn, sha256, withdrawals
from bench.run import Run

STATE = ".state"
"""Folder inside the results with what a run needs while it trains: locks, checkpoints, heartbeats."""
REPLACED = ".replaced"
"""Folder beside a result with the files that its result replaced. It is never read."""
EVALUATED = ".evaluated-"
"""In names of files with scores on other prompts, between the name of the result and the id of the task."""
LONGEST_NAME = 200
"""Bytes of a result's file name. File systems allow 255."""


@dataclass
class Pool:
    """Every result under a folder.

    Attributes:
        runs: run results by run id.
        baselines: baseline results by task id.
        evaluations: scores of runs' models on other prompts, in the order of their files.
        problems: one line per file that was left out, naming it and why.
        withdrawn: results that no longer count, by `withdrawn.json`.
        withdrawn_records: withdrawn results whose files exist, by id and digest of the file.
        paths: the file of each result, by kind and id.
    """

    runs: dict[str, RunRecord] = field(default_factory=dict)
    baselines: dict[str, BaselinesRecord] = field(default_factory=dict)
    evaluations: list[EvaluationRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    withdrawn: list[Withdrawal] = field(default_factory=list)
    withdrawn_records: dict[tuple[str, str], Record] = field(default_factory=dict)
    paths: dict[tuple[str, str], Path] = field(default_factory=dict)

    def add(self, path: Path, record: Record) -> None:
        """Add a result. Of two with one id, the one under its own file name counts, else the first."""
        key = (record.kind, record.id)
        earlier = self._get(key)
        if earlier is not None:
            first = self.paths[key]
            wins = _has_own_name(path, record) and not _has_own_name(first, earlier)
            if not same_numbers(earlier, record):
                loser, winner = (first, path) if wins else (path, first)
                why = f"differs from {winner}, which has the same id ({record.id}) and counts"
                self.problems.append(f"{loser}: {why}; set aside")
            if not wins:
                return
        self.paths[key] = path
        if isinstance(record, RunRecord):
            self.runs[record.id] = record
        else:
            self.baselines[record.id] = record

    def _get(self, key: tuple[str, str]) -> Record | None:
        return self.runs.get(key[1]) if key[0] == "run" else self.baselines.get(key[1])


class NotStored(UserError):
    """A result that could not be stored in its place. The message names the file that keeps it."""


def path_of(results: Path, run: Run) -> Path:
    """The file of the result of `run`."""
    name = run.file_name
    if len(name.encode()) > LONGEST_NAME:
        # Some file systems take fewer bytes than others; the id makes a shortened name unique.
        ending = f"-{run.id}.json"
        name = name.encode()[: LONGEST_NAME - len(ending)].decode(errors="ignore") + ending
    return results / run.task.name / name


def path_of_baselines(results: Path, task_name: str, task_id: str) -> Path:
    """The file of a task's baselines."""
    return results / task_name / f"baselines-{task_id}.json"


def path_of_evaluation(result: Path, task_id: str) -> Path:
    """The file of scores of a run's model on another task's prompts, beside the run's result."""
    return result.with_name(f"{result.stem}{EVALUATED}{task_id}.json")


def store_evaluation(path: Path, value: dict[str, Any]) -> None:
    """Check scores on other prompts and write them atomically.

    Raises:
        NotARecord: when they are not whole.
        OSError: when they cannot be written.
    """
    data = json_bytes(value)
    read_evaluation(parse_json(data))
    write_atomically(path, data)


def store(path: Path, result: dict[str, Any], otherwise: Path | None = None) -> None:
    """Check one result and write it atomically. A different file at `path` is copied to `REPLACED` first.

    Args:
        path: where it belongs.
        result: as `bench.results.record` describes it.
        otherwise: the folder that keeps the result, as result.json, when it cannot be written to `path`.

    Raises:
        NotStored: when the result is not whole or cannot be written, and was kept in `otherwise`.
        OSError: when it cannot be written and `otherwise` is None; always when the disk is full.
        NotARecord: when the result is not whole and `otherwise` is None.
    """
    data = json_bytes(result)
    try:
        read(parse_json(data))
        _keep_replaced(path, data)
        write_atomically(path, data)
    except (OSError, NotARecord) as error:
        if otherwise is None or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
            raise
        copy = otherwise / "result.json"
        write_atomically(copy, data)
        reason = error.strerror if isinstance(error, OSError) else error
        raise NotStored(f"{path}: cannot be stored ({reason}); the result is kept in {copy}") from error


def check_writable(results: Path, paths: Sequence[Path] = ()) -> None:
    """Check that results can be stored in a folder. The folder is created if it does not exist.

    Args:
        results: the folder.
        paths: the files that are to be written in it.

    Raises:
        UserError: when the folder or one in it cannot be made or written to, or a file exists and cannot be
            read: its run would be trained again.
    """
    state = folder = results / STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
        for folder in (state, results, *{path.parent: None for path in paths if path.parent.exists()}):
            try_to_write(folder)
    except OSError as error:
        place = results if folder == state else folder
        why = f"results cannot be written there ({error.strerror}): give another folder with --results"
        raise UserError(f"{place}: {why}") from None
    if unreadable := [path for path in paths if path.is_file() and not os.access(path, os.R_OK)]:
        raise UserError(
            f"{unreadable[0]}: a result that cannot be read ({len(unreadable):,} in all): allow reading it, "
            "or its run would be trained again"
        )


MOST_PROBLEMS = 3
"""A message names at most this many files or folders."""


def require(results: Path) -> Path:
    """Return the folder if it contains a result file.

    Raises:
        UserError: when the folder does not exist or contains no results.
    """
    problems: list[str] = []
    if results.is_dir() and any(True for _ in _files(results, problems)):
        return results
    if problems:  # for example a folder that cannot be read
        raise UserError(f"{results}: no result that can be read; {'; '.join(problems[:MOST_PROBLEMS])}")
    if results.exists() and not results.is_dir():
        raise UserError(f"{results}: is a file, expected a folder of results")
    way = "`bench run SUITE` trains and writes some, and --results names another folder"
    if results.is_dir():
        raise UserError(f"{results}: no result in this folder; {way}")
    near = did_you_mean(results.name, _siblings(results))
    raise UserError(f"{results}: no such folder of results{near or f'; {way}'}")


def load(results: Path) -> Pool:
    """Read every result under `results`. Files that are not results are listed in `problems`.

    Raises:
        UserError: when the list of withdrawn results cannot be read.
    """
    pool = Pool(withdrawn=withdrawals(results))
    with _without_collector():
        _fill(pool, results)
    pool.problems[:] = [problem.encode(errors="backslashreplace").decode() for problem in pool.problems]
    return pool


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Parse without garbage collection: results contain no cycles, and looking for them doubles the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.freeze()
            gc.unfreeze()  # freeze, then unfreeze: what was loaded is old, so the next collection skips it
            gc.enable()


def _fill(pool: Pool, results: Path) -> None:
    """Add the results under a folder, then scores on other prompts of models that have a result."""
    withdrawn = {entry.id for entry in pool.withdrawn}
    evaluations: list[tuple[Path, EvaluationRecord]] = []
    for path in _files(results, pool.problems):
        try:
            data = path.read_bytes()
            if EVALUATED in path.name:
                evaluations.append((path, read_evaluation(parse_json(data))))
                continue
            record = read(parse_json(data))
        except NotARecord as error:
            pool.problems.append(f"{path}: {error}; set aside")
        except OSError as error:
            pool.problems.append(f"{path}: cannot be read ({error.strerror}); set aside")
        except ValueError as error:
            pool.problems.append(f"{path}: is not readable JSON ({error}); set aside")
        else:
            if record.id in withdrawn and is_withdrawn(record.id, data, pool.withdrawn):
                pool.withdrawn_records[record.id, sha256(data)] = record
            else:
                pool.add(path, record)
    for path, evaluation in evaluations:
        run = pool.runs.get(evaluation.id)
        if run and run.provenance.weights and run.provenance.weights.sha256 == evaluation.weights_sha256:
            pool.evaluations.append(evaluation)
        elif evaluation.id not in withdrawn:
            pool.problems.append(f"{path}: is of a model that no result has; set aside")


def load_run(results: Path, run: Run) -> RunRecord | None:
    """The result of `run` under its own file name; None when it is absent, unusable or withdrawn."""
    record = _record_that_counts(results, path_of(results, run), run.id)
    return record if isinstance(record, RunRecord) else None


def load_baselines(results: Path, task_name: str, task_id: str) -> BaselinesRecord | None:
    """A task's baselines under their own file name, or None when they are absent, unusable or withdrawn."""
    record = _record_that_counts(results, path_of_baselines(results, task_name, task_id), task_id)
    return record if isinstance(record, BaselinesRecord) else None


def _record_that_counts(results: Path, path: Path, key: str) -> Record | None:
    """The record in one file; None when it is absent, unusable, withdrawn, or of another id than `key`."""
    with contextlib.suppress(OSError, ValueError):
        data = path.read_bytes()
        record = read(parse_json(data))
        if record.id == key and not is_withdrawn(key, data, withdrawals(results)):
            return record
    return None


def result_files(names: Iterable[str | Path], results: str | Path) -> list[Path]:
    """Find the result files of runs, each once. The folder of results is read once, and only for ids.

    Args:
        names: ids of runs, beginnings of ids, labels, or paths of result files.
        results: the folder of results, where ids are looked up.

    Raises:
        UserError: there is no such file, or no run or more than one run whose id begins so.
    """
    files = {name: Path(name) for name in map(str, names)}
    ids = [name for name in files if not name.endswith(".json")]
    if ids:
        pool = load(require(Path(results)))
        files |= {name: _path_in(name, Path(results), pool) for name in ids}
    if absent := [path for path in files.values() if not path.exists()]:
        raise UserError(f"{absent[0]}: no such file")
    return list(dict.fromkeys(files.values()))


def id_in(name: str) -> str:
    """The id in a name that commands print, `linear_regression/mamba-2x32-…-<id>`. An id is its own."""
    return name.rsplit("-", 1)[-1]


def _path_in(name: str, results: Path, pool: Pool) -> Path:
    """The result file of the run that a name means (`result_files`)."""
    beginning = id_in(name)
    matches = [whole for kind, whole in pool.paths if kind == "run" and whole.startswith(beginning)]
    if len(matches) == 1:
        return pool.paths["run", matches[0]]
    if matches:
        raise UserError(
            f"{results}: the ids of {len(matches)} runs begin with '{beginning}'; give more of it"
        )
    if any(entry.id.startswith(beginning) for entry in pool.withdrawn):
        raise UserError(f"{beginning}: was withdrawn; give the path of its result file to load it anyway")
    if os.path.exists(name):
        raise UserError(f"{name}: expected the id of a run, or the path of its result file (.json)")
    raise UserError(f"{results}: no result of a run {name}; bench plan SUITE lists ids and states")


def _has_own_name(path: Path, record: Record) -> bool:
    """Whether a file has the name and folder that its result is written to."""
    if isinstance(record, RunRecord):
        run = record.run
        begin = f"{run.architecture.name}-{size_key(run.size)}-"  # copies often keep the ending
        in_place = path.parent.name == run.task.name
        return in_place and path.stem.startswith(begin) and path.stem.endswith(f"-{record.id}")
    return path.parent.name == record.task.name and path.name == f"baselines-{record.id}.json"


def _keep_replaced(path: Path, data: bytes) -> None:
    """Copy the file at `path` into `REPLACED` if it is to be replaced by other `data`."""
    if not path.is_file() or (old := path.read_bytes()) == data:
        return
    # Named by its content, so that no copy overwrites another, whichever process makes it.
    write_atomically(path.parent / REPLACED / f"{sha256(old)[:12]}-{path.name}", old)


def _files(
    folder: Path, problems: list[str], above: frozenset[tuple[int, int]] = frozenset()
) -> Iterator[Path]:
    """Every file that may be a result: *.json under a folder, links followed, hidden names left out.

    Args:
        folder: where to look. One that does not exist has no files.
        problems: receives a line for each broken or circular link and each unreadable folder.
        above: device and inode of the folders that lead to this one.
    """
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        problems.append(f"{folder}: cannot be read ({error.strerror}); left out")
        return
    place = (status.st_dev, status.st_ino)
    if place in above:
        problems.append(f"{folder}: is a link to a folder it lies in; not followed")
        return
    for entry in entries:
        if entry.name.startswith(".") or (entry.name == WITHDRAWN and not above):
            continue
        if _entry_is(entry.is_dir):
            yield from _files(folder / entry.name, problems, above | {place})
        elif entry.name.endswith(".json"):
            if _entry_is(entry.is_file):
                yield folder / entry.name
            else:
                problems.append(f"{folder / entry.name}: is no file, or a link that leads nowhere; set aside")


def _entry_is(kind: Callable[[], bool]) -> bool:
    """Whether an entry is of a kind, `entry.is_dir` or `entry.is_file`. A link to itself is of none."""
    try:
        return kind()
    except OSError:
        return False


_USUAL_NAME = re.compile(r"-[0-9a-f]{12}\.json$")
"""How the name of a result file ends, if nobody has renamed it. Folders of reports have other JSON files."""


def _siblings(folder: Path) -> list[str]:
    """Names of folders with results beside a folder that does not exist."""
    try:
        beside = [path for path in folder.absolute().parent.iterdir() if path.is_dir()]
    except OSError:
        return []
    return [
        path.name
        for path in sorted(beside)
        if not path.name.startswith(".")
        and any(
            _USUAL_NAME.search(file.name) for pattern in ("*.json", "*/*.json") for file in path.glob(pattern)
        )
    ]
