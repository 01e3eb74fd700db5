"""Arguments that several commands share."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bench import plugins
from bench import suite as suites
from bench.cli.completion import setting_words, suite_words, task_setting_words
from bench.cli.stdout import reserve
from bench.errors import UserError
from bench.filters import RUN_FIELDS
from bench.plan.planned import Planned, select
from bench.plan.shard import Shard
from bench.suite.shipped import locate

RESULTS = Path("results")


@dataclass(frozen=True)
class SuiteChoice:
    """The suite that a command is about.

    Attributes:
        path: its file.
        word: its path or name, as the user wrote it.
        settings: the settings that the user changes, as `key=value`.
        shard: the share of its runs that is meant; None for all.
        results: the folder of results, for the text of another command about this suite.
        terms: the filter that chooses among the runs; None for all.
    """

    path: Path
    word: str
    settings: tuple[str, ...] = ()
    shard: Shard | None = None
    results: Path = RESULTS
    terms: str | None = None

    @classmethod
    def of(
        cls,
        word: str | Path,
        settings: Sequence[str] = (),
        shard: str | None = None,
        results: Path = RESULTS,
        terms: str | None = None,
    ) -> SuiteChoice:
        """The suite of a path, or of the name of a suite that ships with bench.

        Raises:
            InvalidFile: there is neither a file nor a suite of this name.
            UserError: `shard` is not of the form 2/4.
        """
        share = None if shard is None else Shard.of(shard)
        return cls(locate(str(word)), str(word), tuple(settings), share, results, terms)

    @classmethod
    def optional(cls, word: str | None, settings: Sequence[str]) -> SuiteChoice | None:
        """The suite of a command that also works without one; None without one.

        Raises:
            InvalidFile: as in `of`.
            UserError: settings are changed, but no suite is named.
        """
        if word is None and settings:
            raise UserError("--set changes a suite: name one")
        return None if word is None else cls.of(word, settings)

    def load(self) -> suites.Suite:
        """Read the suite; errors as in `bench.suite.load`."""
        return suites.load(self.path, self.settings)

    @property
    def missing_folder(self) -> str | None:
        """A remark if the folder of results that the user names does not exist, which may be a typo."""
        if self.results == RESULTS or self.results.exists():
            return None
        return f"{self.results}: no such folder of results yet; bench run makes it"

    def __str__(self) -> str:
        """The arguments of another command about this suite, such as `quick --set steps=2000`."""
        changes = "".join(f" --set {shlex.quote(word)}" for word in self.settings)
        results = "" if self.results == RESULTS else f" --results {shlex.quote(str(self.results))}"
        return f"{shlex.quote(self.word)}{changes}{results}{plugins.flags()}"

    @property
    def to_run(self) -> str:
        """The arguments of `bench run` for the same runs."""
        return str(self) if self.shard is None else f"{self} --shard {self.shard}"

    @property
    def is_part(self) -> bool:
        """Whether only a part of the suite's runs is meant."""
        return self.shard is not None or self.terms is not None

    def chosen(self, suite: suites.Suite, planned: Sequence[Planned]) -> list[Planned]:
        """The planned runs that are in the share and match the filter.

        Raises:
            UserError: the filter is wrong, or matches no run (`bench.plan.planned.select`).
        """
        ids = None if self.shard is None else self.shard.ids(suite.runs)
        return select([entry for entry in planned if ids is None or entry.run.id in ids], self.terms)


A_SUITE = "a suite file, or the name of a suite that ships with bench."
SuiteWord = Annotated[
    str, typer.Argument(metavar="SUITE", help=A_SUITE.capitalize(), autocompletion=suite_words)
]


def optional_suite(purpose: str) -> Any:
    """The argument SUITE of a command that also works without one; its help begins with `purpose`."""
    return typer.Argument(metavar="SUITE", help=f"{purpose}: {A_SUITE}", autocompletion=suite_words)


def _set_option(help: str, words: Callable[..., Any]) -> Any:
    """The option `--set`, completed by `words`."""
    return typer.Option(
        "--set",
        metavar="KEY=VALUE",
        autocompletion=words,
        default_factory=list,
        show_default=False,
        help=help,
    )


Changes = Annotated[
    list[str],
    _set_option(
        "Change a setting of every run, e.g. --set steps=2000 --set seeds=0,1; may be repeated.",
        setting_words,
    ),
]
TaskSettings = Annotated[
    list[str],
    _set_option(
        "Change a setting of the task, e.g. --set n_points=82 --set n_dims=5; may be repeated.",
        task_setting_words,
    ),
]
Results = Annotated[
    Path, typer.Option("--results", file_okay=False, help="Folder of results: one pool for all suites.")
]


def _load_plugins(ctx: typer.Context, files: list[Path]) -> list[Path]:
    if ctx.resilient_parsing:  # a shell completes a line, and reads standard output: run no plugin
        return files
    reserve()  # a plugin's prints, now or later, must not mix with the command's output
    if files:
        plugins.load(files)
    return files


Plugins = Annotated[
    list[Path],
    typer.Option(
        "--plugin",
        metavar="FILE",
        callback=_load_plugins,
        envvar="BENCH_PLUGINS",
        default_factory=list,
        show_default=False,
        help="Python file with architectures or tasks of your own; may be repeated.",
    ),
]
MOST_WORKERS = 10_000
"""Largest number of workers, or of devices of a run, that an option takes."""
KERNELS_HELP = (
    "Backend of all kernels: auto (triton on a GPU, else sequential), sequential, triton, mamba_ssm (pip "
    "extra: cuda), reference."
)
ShardText = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Only a share of the runs, e.g. 2/4 on the second of four machines. Stacks stay whole.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of tables.")]
Filter = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="TERMS",
        help="Only runs that match all terms, e.g. 'task=linear_regression architecture=mamba*,s4 "
        f"size=small'. Fields: experiment, {', '.join(RUN_FIELDS)}, size, id, state.",
    ),
]
