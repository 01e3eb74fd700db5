"""The list of commands. A command's module is imported when the command is called."""

from __future__ import annotations

import importlib
import inspect
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from bench.docstrings import paragraphs
from bench.errors import UserError


class CommandEntry(NamedTuple):
    """A command in the list.

    Attributes:
        summary: the first line of the docstring of `command` in the command's module, for `bench --help`.
        examples: command lines for the end of the command's help.
    """

    summary: str
    examples: tuple[str, ...]


COMMANDS = {
    "plan": CommandEntry(
        "List a suite's runs: id, parameters, training FLOPs, state, expected time. Starts nothing.",
        ("bench plan quick", "bench plan paper --summary --set precision=tf32"),
    ),
    "run": CommandEntry(
        "Train a suite's missing runs, here or on a cluster. Run it again to resume after a stop.",
        (
            "bench run quick",
            "bench run suites/mine.yaml --filter 'architecture=mamba*' --limit 2",
            "bench run suites/mine.yaml --for 9m",
            "bench run suites/mine.yaml --cluster slurm --dry-run",
        ),
    ),
    "status": CommandEntry(
        "Show a suite's progress: runs by state, FLOPs done, time left; one line per experiment.",
        ("bench status quick", "bench status suites/mine.yaml --watch"),
    ),
    "logs": CommandEntry(
        "Print the output of a run's training, whichever machine trains it.",
        ("bench logs 1a2b3c --follow",),
    ),
    "failures": CommandEntry(
        "List failed runs by cause: one traceback each, the runs, the command to try them again.",
        ("bench failures suites/mine.yaml",),
    ),
    "cancel": CommandEntry(
        "Cancel a suite's jobs on the cluster. Running jobs save first.",
        ("bench cancel suites/mine.yaml",),
    ),
    "report": CommandEntry(
        "Write tables, figures and a page from the results that exist.",
        ("bench report quick", "bench report"),
    ),
    "check": CommandEntry(
        "Compare results with a suite's claims (suites/x.claims.yaml); list changes since last time.",
        ("bench check quick --verbose", "bench check suites/mine.yaml --null"),
    ),
    "compare": CommandEntry(
        "Compare two results folders run by run, with paired 90 % intervals.",
        ("bench compare results other/results --tolerance 0.1",),
    ),
    "evaluate": CommandEntry(
        "Score kept models on other prompts: longer ones, other settings, other tasks.",
        ("bench evaluate 1a2b3c --set n_points=82", "bench evaluate 1a2b3c --task decision_tree"),
    ),
    "export": CommandEntry(
        "Write all results as a table: runs and checkpoints, or one of the tables in long form.",
        ("bench export runs.csv", "bench export positions.csv --table positions"),
    ),
    "speed": CommandEntry(
        "Time whole training steps on this machine's device, alone and in stacks. Plans use the times.",
        ("bench speed quick", "bench speed --sizes 2x128,8x64 --architectures mamba,transformer"),
    ),
    "withdraw": CommandEntry(
        "Withdraw wrong results: files stay, runs become missing. Without --filter, list them.",
        (
            "bench withdraw",
            "bench withdraw --filter 'commit=1a2b3c*' --reason 'the kernel was wrong'",
            "bench withdraw --filter 'commit=1a2b3c*' --undo",
        ),
    ),
    "doctor": CommandEntry(
        "Show this machine's versions and devices, and compare its kernels with their references.",
        ("bench doctor", "bench doctor --train 2000"),
    ),
    "init": CommandEntry(
        "Write a small commented suite to begin with; on request a plugin and claims.",
        ("bench init", "bench init parity --plugin --claims"),
    ),
    "suites": CommandEntry(
        "List the suites that ship with bench. Every command that takes a suite takes their names.",
        ("bench suites",),
    ),
    "architectures": CommandEntry(
        "List the architectures and their cost at a size; with a name, also its options.",
        ("bench architectures --size 2x128", "bench architectures mamba"),
    ),
    "tasks": CommandEntry(
        "List the tasks; show one task's prompt, fields and evaluations.",
        ("bench tasks", "bench tasks sparse_parity"),
    ),
    "schema": CommandEntry(
        "Print the JSON Schema of suites, claims or findings, for completion and checks in editors.",
        ("bench schema claims > claims.json",),
    ),
}
"""By name, which is that of the command's module."""


def load(name: str) -> Any:
    """Import a command's module and return its Click command."""
    command = importlib.import_module(f"bench.cli.{name}").command
    text = paragraphs(inspect.cleandoc(command.__doc__))
    examples = "\n\n".join(("For example:", *COMMANDS[name].examples))
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    single.command(name, cls=Command, help=text, epilog=examples)(command)
    return typer.main.get_command(single)


def _without_type(options: list[Any]) -> list[Any]:
    """The same options; the help shows no type beside a flag, which takes no value."""
    for option in options:
        if isinstance(option, TyperOption) and option.is_flag:
            option.metavar = ""
    return options


def _refuse_empty(words: list[str]) -> None:
    """Refuse an empty value: an unset variable of a shell, as in `--results "$FOLDER"`.

    An empty path would mean the current folder, and an empty filter all runs.

    Raises:
        UserError: a word of the command line is empty, or is an option with nothing after its `=`.
    """
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=")
        if word == "":
            named = before.startswith("-") and "=" not in before
            raise UserError(f"{before}: the value is empty" if named else "an argument is empty")
        if equals and not value and option.startswith("--"):
            raise UserError(f"{option}: the value is empty")


class Command(TyperCommand):
    """A command of bench."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the command's name."""
        if not ctx.resilient_parsing:  # a shell completes an empty word
            _refuse_empty(args)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        """The arguments and options, `--help` included."""
        return _without_type(super().get_params(ctx))


class LazyGroup(TyperGroup):
    """A group that lists its commands without importing them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, entry in COMMANDS.items():
            self.add_command(TyperCommand(name, help=entry.summary))

    def get_params(self, ctx: Any) -> list[Any]:
        """The options of `bench` itself, `--help` included."""
        return _without_type(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Replace the entry of the list by the command itself."""
        name, command, arguments = super().resolve_command(ctx, args)
        return name, load(command.name) if command and command.name else command, arguments


app = typer.Typer(
    cls=LazyGroup,
    name="bench",
    help="Compare sequence architectures at equal training FLOPs: which learns which task in context?",
    epilog="Exit codes: 0 done; 1 done, with bad news (a run failed, a claim is contradicted, a kernel "
    "disagrees); 2 not done (a wrong option, a missing folder, a full disk); 3 a suite or claims file is "
    "wrong; 75 time is over (run --for); 130 Ctrl-C. Details: bench/guide/design.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        from bench import __version__

        typer.echo(f"bench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Options of `bench` itself."""
