"""Claims files: what a paper states, written so that results can be held against it.

    suite: quick
    claims:
      mamba_beats_s4:
        statement: Selection pays.
        source: Figure 2
        measure: {experiment: regression, task: linear_regression, at: last}
        order: [{architecture: mamba}, {architecture: s4}]
        slack: 0.1

A claim has a measure (`bench.check.measure`) and states one of KINDS (`bench.check.kinds`). A file is
held against its suite when it is read: a claim that no result of the suite could ever decide is an error
in the file, not a verdict, unless it says what it `awaits`. `bench.check` gives the verdicts; a further
kind of claim is a model in `kinds` and a function in `judges`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.check.claim import Claim
from bench.check.decidable import bad_counts, undecidable
from bench.check.kinds import Requires
from bench.errors import InvalidFile
from bench.frozen import Frozen
from bench.names import name_fault
from bench.strict_yaml.complaints import Complaint
from bench.strict_yaml.document import check, lines, read

if TYPE_CHECKING:
    from bench.suite import Suite


@dataclass(frozen=True)
class Claims:
    """The claims about one suite, by id, in the order of the file.

    Attributes:
        awaiting: of the claims that the suite cannot decide yet, what they wait for.
    """

    path: Path
    claims: dict[str, Claim]
    awaiting: Mapping[str, str] = field(default_factory=dict)


class _File(Frozen):
    suite: str
    requires: Requires = Requires()
    claims: dict[str, Any]


def path_for(suite_path: Path) -> Path:
    """Where the claims about a suite are written: `quick.yaml` → `quick.claims.yaml`, beside it."""
    return suite_path.with_name(f"{suite_path.stem}.claims.yaml")


def load(path: Path, suite: Suite) -> Claims:
    """Read the claims about `suite`.

    Raises:
        InvalidFile: every problem, each at its line and column.
    """
    if not path.exists():
        raise InvalidFile([f"{path}: no such file; claims about {suite.path} are read from there"])
    document = read(path)
    file = check(document, _File)
    complaints = list(file) if isinstance(file, list) else []
    if isinstance(file, _File) and file.suite != suite.name:
        complaints.append(
            Complaint(("suite",), f"these are claims about '{file.suite}', the suite is named '{suite.name}'")
        )
    entries = document.data.get("claims") if isinstance(document.data, dict) else None
    if entries == {}:
        complaints.append(Complaint(("claims",), "there is no claim here"))
    claims: dict[str, Claim] = {}
    awaiting: dict[str, str] = {}
    common = file.requires if isinstance(file, _File) else Requires()
    for name in entries if isinstance(entries, dict) else ():
        if fault := name_fault(name):
            complaints.append(Complaint(("claims", name), fault, key=True))
        claim = check(document, Claim, ("claims", name))
        if isinstance(claim, list):
            complaints.extend(claim)
        else:
            own = {key: getattr(claim.requires, key) for key in claim.requires.model_fields_set}
            claims[name] = claim.model_copy(update={"requires": common.model_copy(update=own)})
            found = [*undecidable(name, claim, suite)]
            if claim.awaits and found:
                awaiting[name] = claim.awaits
            else:
                complaints.extend(found)
    complaints.extend(bad_counts(entries, claims))
    if complaints:
        raise InvalidFile(lines(document, complaints))
    return Claims(path, claims, awaiting)
