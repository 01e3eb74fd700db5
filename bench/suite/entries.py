"""Look up a suite's tasks, architectures, sizes and optimizers by name, and check their fields.

A user's mistake raises nothing here. Complaints are collected, so that one reading of a suite reports all of
them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

from bench import plugins
from bench.errors import OR_A_PLUGIN, UserError, did_you_mean
from bench.frozen import Frozen, record_fault
from bench.models.architecture import Architecture
from bench.models.architectures import ARCHITECTURES
from bench.models.sizes import Size, as_fields
from bench.optimizers import OPTIMIZERS, Optimizer
from bench.paper.sizes import SIZE_GROUPS
from bench.strict_yaml.complaints import Complaint, Loc, shown, validated
from bench.tasks import TASKS, Task

T = TypeVar("T", bound=Frozen)


class At(NamedTuple):
    """A value and where it was written."""

    value: Any
    loc: Loc


def tasks(
    entries: Sequence[At], protocols: Sequence[str], complaints: list[Complaint]
) -> list[tuple[Task, str]]:
    """Every task under every protocol, with the protocol's name."""
    pairs = []
    for protocol in protocols:
        under = [At(task, entry.loc) for entry in entries for task in _task(entry, protocol, complaints)]
        distinct(under, lambda task: f"task '{task.name}' with these fields", complaints)
        pairs += [(task, protocol) for task, _ in under]
    return pairs


def architectures(entries: Sequence[At], complaints: list[Complaint]) -> list[At]:
    """Architectures with their options, each with the place of its entry."""
    variants = [At(variant, entry.loc) for entry in entries for variant in _architecture(entry, complaints)]
    distinct(variants, lambda variant: f"architecture '{variant.name}' with these options", complaints)
    return variants


def sizes(entries: Sequence[At], complaints: list[Complaint]) -> list[At]:
    """Sizes, each with the place of the size or of the group that lists it."""
    listed = [At(size, entry.loc) for entry in entries for size in _sizes(entry, complaints)]
    distinct(listed, lambda size: f"size {size.layers} × {size.width}", complaints)
    return listed


def optimizers(entries: Sequence[At], steps: int | None, complaints: list[Complaint]) -> list[Optimizer]:
    """Optimizers with their options. Complains about those that runs of `steps` steps cannot use."""
    listed = [At(optimizer, entry.loc) for entry in entries for optimizer in _optimizer(entry, complaints)]
    distinct(listed, lambda optimizer: f"optimizer '{optimizer.name}' with these settings", complaints)
    for optimizer, loc in listed if steps else ():
        if fault := optimizer.fault(steps):
            complaints.append(Complaint(loc, f"optimizer: {fault}"))
    return [optimizer for optimizer, _ in listed]


def distinct(values: Sequence[At], name: Callable[[Any], str], complaints: list[Complaint]) -> None:
    """Complain about every value that is listed a second time."""
    before: list[Any] = []
    for value, loc in values:
        if value in before:
            complaints.append(Complaint(loc, f"{name(value)} is listed twice"))
        before.append(value)


def is_pattern(word: str) -> bool:
    """Whether a word stands for several names, as in a shell."""
    return any(sign in word for sign in "*?[")


def is_known(word: Any, valid: Collection[str], noun: str, loc: Loc, complaints: list[Complaint]) -> bool:
    """Whether a word is one of the valid names; complains if it is not."""
    if isinstance(word, str) and word in valid:
        return True
    if isinstance(word, str):
        own = OR_A_PLUGIN if noun in plugins.KINDS else ""
        right = _as_suites_write(word, valid) or did_you_mean(word, valid, own)
        complaints.append(Complaint(loc, f"unknown {noun} '{word}'{right}"))
    else:
        article = "an" if noun[0] in "aeiou" else "a"
        complaints.append(Complaint(loc, f"expected the name of {article} {noun}, got {shown(word)}"))
    return False


def _as_suites_write(word: str, valid: Collection[str]) -> str:
    """How a suite writes a list without brackets, or a name with options or a size as in `bench plan`.

    Empty for any other word.
    """
    names = [part.strip() for part in word.split(",")]
    if len(names) > 1 and any(name in valid for name in names):
        return f", expected a list: [{', '.join(names)}]"
    base, plus, options = word.partition("+")
    if plus and base in valid and "=" in options:
        fields = ", ".join(part.replace("=", ": ", 1) for part in options.split("+"))
        return f", expected {{name: {base}, {fields}}}"
    size = as_fields(word)
    return f", expected {size}" if size else ""


def _named(
    entry: At, valid: Collection[str], noun: str, complaints: list[Complaint]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the other fields of an entry; nothing if the name is not valid."""
    value, loc = entry
    if not isinstance(value, dict):
        if is_known(value, valid, noun, loc, complaints):
            yield value, {}
    elif "name" not in value:
        right = next((f", expected {{name: {key}, …}}" for key in value if key in valid), "")
        complaints.append(Complaint(loc, f"missing key 'name'{right}"))
    elif is_known(value["name"], valid, noun, (*loc, "name"), complaints):
        yield value["name"], {key: field for key, field in value.items() if key != "name"}


def _valid(model: type[T], data: Any, loc: Loc, complaints: list[Complaint]) -> Iterator[T]:
    """The model of an entry; nothing if it is not valid."""
    outcome = validated(model, data)
    if isinstance(outcome, list):
        complaints.extend(complaint.under(loc) for complaint in outcome)
    else:
        yield outcome


def _recordable(settings: T, name: str, loc: Loc, complaints: list[Complaint]) -> Iterator[T]:
    """The settings; nothing, and a complaint, if a field of a plugin cannot be recorded."""
    if fault := record_fault(settings):
        complaints.append(Complaint(loc, f"{name} cannot be recorded: {fault}"))
    else:
        yield settings


def _task(entry: At, protocol: str, complaints: list[Complaint]) -> Iterator[Task]:
    for name, fields in _named(entry, TASKS, "task", complaints):
        kind = TASKS[name]
        filled = {field: choices[protocol] for field, choices in kind.protocol_fields.items()}
        for task in _valid(kind, {"name": name, **filled, **fields}, entry.loc, complaints):
            yield from _recordable(task, f"task '{name}'", entry.loc, complaints)


def _optimizer(entry: At, complaints: list[Complaint]) -> Iterator[Optimizer]:
    for name, options in _named(entry, OPTIMIZERS, "optimizer", complaints):
        yield from _valid(OPTIMIZERS[name], {"name": name, **options}, entry.loc, complaints)


def _architecture(entry: At, complaints: list[Complaint]) -> Iterator[Architecture]:
    for name, options in _named(entry, ARCHITECTURES, "architecture", complaints):
        architecture, before = ARCHITECTURES[name], len(complaints)
        for option, value in options.items():
            faults = _option(architecture, option, value)
            complaints.extend(complaint.under(entry.loc) for complaint in faults)
        if len(complaints) > before:
            continue
        try:
            variant = architecture.with_options(options)
        except UserError as error:
            complaints.append(Complaint(entry.loc, str(error)))
        else:
            yield from _recordable(variant, f"architecture '{name}'", entry.loc, complaints)


def _option(architecture: Architecture, option: str, value: Any) -> Iterator[Complaint]:
    """What is wrong with one option of an architecture."""
    for name, kind, owner in architecture.options():
        if name == option:
            settings = owner.model_dump(mode="json", include=set(kind.model_fields))
            outcome = validated(kind, {**settings, option: value})
            yield from outcome if isinstance(outcome, list) else ()
    try:
        architecture.with_options({option: value})
    except UserError as error:
        yield Complaint((option,), str(error), key=True)
    except ValueError:
        pass  # `validated` has complained


def _sizes(entry: At, complaints: list[Complaint]) -> Iterator[Size]:
    if isinstance(entry.value, dict):
        yield from _valid(Size, entry.value, entry.loc, complaints)
    elif not isinstance(entry.value, str):
        right = "the name of a size group, or its fields, layers and width"
        complaints.append(Complaint(entry.loc, f"expected {right}, got {shown(entry.value)}"))
    elif is_known(entry.value, SIZE_GROUPS, "size group", entry.loc, complaints):
        yield from SIZE_GROUPS[entry.value]
