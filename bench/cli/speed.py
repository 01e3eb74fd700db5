"""`bench speed`: times of whole training steps on this machine's device, and of each kernel in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.cli import printing
from bench.cli.arguments import RESULTS, Changes, Json, Plugins, Results, SuiteChoice, optional_suite
from bench.cli.speed_tables import show_profile, show_record
from bench.environment import device_name
from bench.errors import UserError
from bench.files import check_can_write
from bench.precision import PRECISIONS
from bench.speed import records
from bench.speed.cases import USUAL_PRECISIONS, USUAL_STACKS, Grid, distinct, runs_of, stacks_of
from bench.speed.measurement import check_peer, measured, possible, prepared_device
from bench.speed.picture import draw
from bench.speed.records import Row


def command(
    plugin: Plugins,
    changes: Changes,
    suite: Annotated[str | None, optional_suite("Measure a run of each shape in this suite")] = None,
    architectures: Annotated[
        str | None, typer.Option(help="Architectures, separated by commas (default: the paper's six).")
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(help="Layers x width, e.g. 2x128,8x64, or size groups (default: 2x128)."),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Tasks, separated by commas (default: linear_regression).")
    ] = None,
    precisions: Annotated[
        str | None,
        typer.Option(
            help=f"Precisions, separated by commas: {', '.join(PRECISIONS)} (default: "
            f"{','.join(USUAL_PRECISIONS)}; on a processor fp32)."
        ),
    ] = None,
    stacks: Annotated[
        str | None,
        typer.Option(
            help="Numbers of runs in a stack, separated by commas (default: "
            f"{','.join(map(str, USUAL_STACKS))}; on a processor, where every run trains alone, 1)."
        ),
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also print and draw the time of each kernel in a step.")
    ] = False,
    peer: Annotated[
        str | None,
        typer.Option(metavar="jax", help="Time a plain JAX program of the same step beside the Transformer."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            help="Write the record to this file. By default it joins the results, and `bench plan` reads it.",
        ),
    ] = None,
    results: Results = RESULTS,
    json: Json = False,
) -> None:
    """Time whole training steps on this machine's device, alone and in stacks. Plans use the times."""
    grid = Grid(
        words(architectures, "--architectures"),
        words(sizes, "--sizes"),
        words(tasks, "--tasks"),
        words(precisions, "--precisions"),
        None if stacks is None else numbers(stacks, "--stacks"),
    )
    show_speed(grid, SpeedOptions(SuiteChoice.optional(suite, changes), results, output, profile, peer, json))


@dataclass(frozen=True)
class SpeedOptions:
    """Options of the command line, besides those of the grid."""

    suite: SuiteChoice | None
    results: Path
    output: Path | None
    profile: bool
    peer: str | None
    as_json: bool


def words(text: str | None, option: str) -> tuple[str, ...] | None:
    """The words of an option, separated by commas; None if the option is missing.

    Raises:
        UserError: the option contains no word.
    """
    if text is None:
        return None
    if not (names := tuple(word.strip() for word in text.split(",") if word.strip())):
        raise UserError(f"{option} {text}: contains no value: expected values separated by commas")
    return tuple(dict.fromkeys(names))


def numbers(text: str, option: str) -> tuple[int, ...]:
    """The whole numbers of an option, separated by commas.

    Raises:
        UserError: a value is not a whole number.
    """
    values = words(text, option) or ()
    if wrong := [value for value in values if not value.isdecimal()]:
        raise UserError(f"{option} {wrong[0]}: expected whole numbers separated by commas, such as 1,16")
    return tuple(int(value) for value in values)


def show_speed(grid: Grid, options: SpeedOptions) -> None:
    """Measure, store the record, and print it.

    Raises:
        UserError: a name is unknown, this device lacks a precision, or a peer is not installed.
    """
    if options.peer is not None:
        check_peer(options.peer)
    cases = distinct(options.suite.load().runs, grid) if options.suite else runs_of(grid)
    device = prepared_device()
    name = device_name(str(device))
    cases = possible(cases, device, grid.precisions)
    out = printing.Output()
    if not options.as_json:
        where = "" if device.type == "cuda" else ", a processor: steps are eager, and slower than on any GPU"
        out.say(f"{name}{where}")
    path = options.output or records.path_of(options.results, name)
    check_can_write(path)  # before minutes of measuring
    older = None if options.output else records.of_device(options.results, name)
    with Console(stderr=True).status("") as status:
        for record in measured(
            cases,
            stacks_of(grid, device.type),
            device,
            profile=options.profile,
            peer=options.peer,
            report=status.update,
        ):
            # Stored after every case, so that an interrupted measurement keeps its first cases.
            records.store(path, record.with_older(older))
    pictures = [_picture(row, record.device, path) for row in record.rows if row.profile]
    if options.as_json:
        out.json(record.plain())
        return
    show_record(out, record)
    for row in record.rows:
        if row.profile:
            show_profile(out, row)
    out.say(f"Stored: {path}" + "".join(f"\nPicture: {picture}" for picture in pictures))


def _picture(row: Row, device: str, path: Path) -> Path:
    picture = path.with_name(f"{path.stem}-{row.label}.png")
    draw(row, device, picture)
    return picture
