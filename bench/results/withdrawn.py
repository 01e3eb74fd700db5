"""Results that no longer count. `withdrawn.json` lists them with the reason; their files stay.

    {"format": 1, "withdrawn": [{"id", "sha256", "name", "reason", "date"}]}

A withdrawal names the content of one file (`sha256`), so that a new result of the same run counts. Copies
of a withdrawn file are withdrawn with it.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from bench.errors import UserError
from bench.files import read_json, write_json

FILE = "withdrawn.json"
FORMAT = 1
MOST_NAMED = 5


@dataclass(frozen=True)
class Withdrawal:
    """One result that no longer counts.

    Attributes:
        id: the run's, or the task's for baselines.
        sha256: digest of the file's bytes.
        name: what the result was of, in words.
        reason: why the result does not count.
        date: when it was withdrawn, as YYYY-MM-DD.
    """

    id: str
    sha256: str
    name: str
    reason: str
    date: str


_ENTRIES = TypeAdapter(list[Withdrawal])


def withdrawals(results: Path) -> list[Withdrawal]:
    """Every withdrawal under `results`, in the order in which they were made.

    Raises:
        UserError: when the file cannot be read, because it is then unknown which results count.
    """
    path = results / FILE
    if not path.exists():
        return []
    try:
        value = read_json(path)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise ValueError(f"expected an object of format {FORMAT}")
        return _ENTRIES.validate_python(value.get("withdrawn"))
    except OSError as error:
        reason = str(error.strerror)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"withdrawn.{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except ValueError as error:
        reason = str(error)
    raise UserError(f"{path}: cannot be read ({reason}): it says which results do not count")


def is_withdrawn(run_id: str, data: bytes, entries: Iterable[Withdrawal]) -> bool:
    """Whether a result file's bytes are those of a withdrawn result of the run."""
    return any(entry.id == run_id and entry.sha256 == sha256(data) for entry in entries)


def sha256(data: bytes) -> str:
    """The digest by which a withdrawal identifies a file."""
    return hashlib.sha256(data).hexdigest()


def lines(
    entries: Iterable[Withdrawal], counted: Container[str], ids: Container[str] | None = None
) -> list[str]:
    """Describe withdrawals, with a line per reason and date.

    Args:
        entries: the withdrawals.
        counted: ids with a result that counts; those runs were trained again.
        ids: runs and tasks of interest; None for all.
    """
    groups: dict[tuple[str, str], list[Withdrawal]] = {}
    for entry in entries:
        if ids is None or entry.id in ids:
            groups.setdefault((entry.date, entry.reason), []).append(entry)
    descriptions = []
    for (date, reason), group in groups.items():
        names = Counter(entry.name for entry in group)
        listed = ", ".join(f"{name} ({count})" for name, count in names.most_common(MOST_NAMED))
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        trained_again = sum(entry.id in counted for entry in group)
        noun = "result" if len(group) == 1 else "results"
        descriptions.append(
            f"{len(group)} {noun} withdrawn on {date}: {reason} ({listed}{more}); "
            f"{trained_again} trained again"
        )
    return descriptions


def write(results: Path, entries: Sequence[Withdrawal]) -> None:
    """Replace the list of withdrawals. An empty list removes the file.

    Raises:
        UserError: when it cannot be written.
    """
    path = results / FILE
    try:
        if entries:
            write_json(path, {"format": FORMAT, "withdrawn": [asdict(entry) for entry in entries]}, indent=1)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None
