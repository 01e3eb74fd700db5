"""Claims files: read, and checked against their suite.

    suite: quick
    claims:
      mamba_beats_s4:
        statement: Selection pays.
        source: Figure 2
        measure: {experiment: regression, task: linear_regression, at: last}
        order: [{architecture: mamba}, {architecture: s4}]
        slack: 0.1

A claim has a `measure` (`bench.check.quantity`) and the key of exactly one kind (`bench.check.kinds`).
A claim that no result of the suite could decide is an error in the file, unless it states what it `awaits`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, create_model

from bench.check.claim import Claim, Requires
from bench.check.decidable import bad_references, undecidable
from bench.check.kinds import KINDS
from bench.errors import InvalidFile
from bench.frozen import Frozen
from bench.names import name_fault
from bench.strict_yaml.complaints import Complaint
from bench.strict_yaml.document import Document, check, lines, read

if TYPE_CHECKING:
    from bench.suite import Suite


ONE_SEED = (
    "one seed says nothing about what training anew would give: write {about: these runs}, or give at least 2"
)


@dataclass(frozen=True)
class Claims:
    """The claims about one suite, by id, in the order of the file.

    Attributes:
        awaiting: for each claim that the suite cannot decide yet, what it awaits.
    """

    path: Path
    claims: dict[str, Claim]
    awaiting: Mapping[str, str] = field(default_factory=dict)


class _File(Frozen):
    suite: str
    requires: Requires = Requires()
    claims: dict[str, Any]


def path_for(suite_path: Path) -> Path:
    """The claims file of a suite: `quick.yaml` → `quick.claims.yaml` in the same folder."""
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
    if isinstance(file, _File) and file.suite != suite.base_name:
        complaints.append(
            Complaint(("suite",), f"these are claims about '{file.suite}', the suite is named '{suite.name}'")
        )
    entries = document.data.get("claims") if isinstance(document.data, dict) else None
    if entries == {}:
        complaints.append(Complaint(("claims",), "there is no claim here"))
    entries = entries if isinstance(entries, dict) else {}
    required = file.requires if isinstance(file, _File) else Requires()
    claims: dict[str, Claim] = {}
    awaiting: dict[str, str] = {}
    for name in entries:
        if fault := name_fault(name):
            complaints.append(Complaint(("claims", name), fault, key=True))
        claim = _claim(document, name)
        if isinstance(claim, list):
            complaints.extend(claim)
            continue
        claims[name] = _with_requires(claim, required)
        if not claims[name].requires.suffices:
            is_own = "seeds" in claim.requires.model_fields_set
            place = ("claims", name, "requires", "seeds") if is_own else ("requires", "seeds")
            complaint = Complaint(place, ONE_SEED)
            if complaint not in complaints:  # all claims may have it from the requirements of the file
                complaints.append(complaint)
        faults = [complaint.under(("claims", name)) for complaint in undecidable(claim, suite)]
        if claim.awaits and faults:
            awaiting[name] = claim.awaits
        elif faults and suite.name != suite.base_name:  # the command line took the claim's runs away
            awaiting[name] = faults[0].message
        else:
            complaints.extend(faults)
    complaints.extend(bad_references(entries, claims))
    if complaints:
        raise InvalidFile(lines(document, complaints))
    return Claims(path, claims, awaiting)


def _with_requires(claim: Claim, required: Requires) -> Claim:
    """The claim with the file's requirements, except those that the claim sets itself."""
    own = {key: getattr(claim.requires, key) for key in claim.requires.model_fields_set}
    return claim.model_copy(update={"requires": required.model_copy(update=own)})


def _claim(document: Document, name: str) -> Claim | list[Complaint]:
    """One claim of a document, or complaints about it."""
    loc = ("claims", name)
    entry = document.data["claims"][name]
    kinds = [kind for kind in KINDS if isinstance(entry, dict) and kind in entry]
    if len(kinds) != 1:
        return _without_kind(document, name, kinds)
    (kind,) = kinds
    model = KINDS[kind]
    # A key of other kinds, such as slack, is no spelling mistake: say to which kinds it belongs.
    foreign = {key: owners for key in entry if key not in model.model_fields and (owners := _owners(key))}
    complaints = [
        Complaint((*loc, key), f"{kind} takes no '{key}', which belongs to {', '.join(owners)}")
        for key, owners in foreign.items()
    ]
    claim = check(document, model, loc, {key: entry[key] for key in entry if key not in foreign})
    if isinstance(claim, list):
        return [*complaints, *claim]
    return complaints or claim


def _owners(key: str) -> list[str]:
    """The kinds of claim that have a key."""
    return [kind for kind, model in KINDS.items() if key in model.model_fields]


def _without_kind(document: Document, name: str, kinds: list[str]) -> list[Complaint]:
    """Complaints about a claim that has no kind, or several."""
    # Without a kind no model applies. This one knows the keys of all kinds, so that a misspelt kind gets a
    # suggestion, and checks the values of the common keys.
    keys = {key: (Any, None) for model in KINDS.values() for key in model.model_fields}
    common = {key: (info.annotation, info) for key, info in Claim.model_fields.items()}
    fields: dict[str, Any] = {**keys, **common}
    model: type[BaseModel] = create_model("Claim", __base__=Frozen, **fields)
    outcome = check(document, model, ("claims", name))
    complaints = outcome if isinstance(outcome, list) else []
    if complaints and not kinds:
        return complaints  # an unknown key may be the kind
    *others, last = KINDS
    number = f"this one has {' and '.join(kinds)}" if kinds else "this one has none"
    text = f"a claim states one of {', '.join(others)} and {last}; {number}"
    return [*complaints, Complaint(("claims", name, *kinds[:1]), text)]
