"""Suites, claims and findings that are shipped, and a site file, with a few random mutations.

Whatever a file has become, there is no traceback and no endless work, and a refusal names a place in a file.
"""

from __future__ import annotations

import contextlib
import io
import random
import re
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from command import ROOT

from bench.check import claims as claims_of
from bench.check import findings as findings_of
from bench.cli.arguments import SuiteChoice
from bench.cli.check import CheckOptions, check_suite
from bench.cli.plan import show_plan
from bench.dispatch.slurm.site import load_site
from bench.errors import InvalidFile, UserError

SUITES = ROOT / "suites"
USUAL, LARGE = ("quick", "pilot", "tasks", "parity"), "paper"
SITE = """\
partition: gpu
gres: nvme:3
gpus_per_node: 4
gpu_memory_gb: 80.5
cpus_per_task: 8
mem_gb: 64
timeout_min: 300
signal_delay_s: 120
setup: [module load cuda/12.4, "export A=b"]
sbatch: {nice: 100, hold: false, comment: hello}
device: cuda
workers: 2
"""
SITE_SHARE = 0.25
LARGE_SHARE = 0.03
"""The paper's files take seconds to read."""
MOST_SECONDS = 60
PLACE = re.compile(r"^\S+\.yaml:\d+:\d+: .")

VALUES = [
    "null", "true", "no", "''", "[]", "{}", "0", "-1", "1", "0.5", "1e-400", "1e400", ".nan", ".inf", "-.inf",
    "18446744073709551615", "18446744073709551616", "9" * 400, "1_000_000_000_000", "0x10", "1:30",
    "2024-02-04", "[[[[]]]]", "[1, 1]", "{a: 1}", "{name: mamba}", "{name: adamw}", "text", "'a/b'",
    "a" * 300, "!!python/object:os.system x", "!!set {a}", "&a [*a]", "*nobody", "<<", "{every: 1}",
    "Figure 99", "'\\0'", '"\\u2028"', "é", "transformer+init=torch", "s4_mamba+dropout=0.0", "*",
    "mamba, mamba", "left_out", '"\\ud800"', '"\\x00"',
]  # fmt: skip
FRAGMENTS = [
    "\t", "\x00", "\ufeff", "é", "'", '"', "[", "]", "{", "}", ":", ": ", ",", "#", "&a ", "*a", "- ", "|",
]  # fmt: skip

Mutation = Callable[[str, random.Random], str]


def _span(text: str, pattern: str, chance: random.Random) -> tuple[int, int] | None:
    found = [match.span() for match in re.finditer(pattern, text)]
    return chance.choice(found) if found else None


def replace_value(text: str, chance: random.Random) -> str:
    span = _span(text, r"(?<=[:,\[] )[\w.{][^,\n\]}]*", chance)
    return text[: span[0]] + chance.choice(VALUES) + text[span[1] :] if span else text


def replace_number(text: str, chance: random.Random) -> str:
    span = _span(text, r"\d[\d_.e-]*", chance)
    return text[: span[0]] + chance.choice(VALUES[5:19]) + text[span[1] :] if span else text


def change_word(text: str, chance: random.Random) -> str:
    span = _span(text, r"[A-Za-z_]{3,}", chance)
    if span is None:
        return text
    at = chance.randrange(*span)
    return text[:at] + chance.choice(["", text[at] * 2, "_", "x"]) + text[at + 1 :]


def swap_words(text: str, chance: random.Random) -> str:
    one, other = _span(text, r"[\w.]+", chance), _span(text, r"[\w.]+", chance)
    if not one or not other or one[1] > other[0]:
        return text
    return (
        text[: one[0]] + text[slice(*other)] + text[one[1] : other[0]] + text[slice(*one)] + text[other[1] :]
    )


def insert_fragment(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(FRAGMENTS) + text[at:]


def delete_some(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + text[at + chance.randint(1, 20) :]


def truncate(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text) + 1)]


def change_lines(text: str, chance: random.Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    at = chance.randrange(len(lines))
    match chance.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(at, lines[at])
        case 2:
            lines[at] = chance.choice(["", " ", "  ", "\t"]) + lines[at].lstrip()
        case 3:
            lines[at] = "  " + lines[at]
        case _:
            lines.insert(chance.randrange(len(lines)), lines[at])
    return "".join(lines)


MUTATIONS: tuple[Mutation, ...] = (
    replace_value, replace_value, replace_number, replace_number, change_word, swap_words, insert_fragment,
    delete_some, truncate, change_lines, change_lines,
)  # fmt: skip


def mutated(text: str, chance: random.Random) -> str:
    """`text` with one to three mutations."""
    for _ in range(chance.randint(1, 3)):
        text = chance.choice(MUTATIONS)(text, chance)
    return text


class TooLong(Exception):
    """A case takes longer than anybody waits."""


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def over(number: int, frame: object) -> None:
        raise TooLong(f"more than {MOST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutated_inputs(count: int, seed: int) -> Iterator[str]:
    """The faults of `count` mutated files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in range(count):
            chance = random.Random(f"{seed} {case}")
            if chance.random() < SITE_SHARE:
                site = folder / "cluster.yaml"
                site.write_text(mutated(SITE, chance), encoding="utf-8", errors="surrogatepass")
                if fault := _fault([partial(_read_site, site)]):
                    yield f"seed {seed} case {case} ({site.name}): {fault}"
                continue
            suite = LARGE if chance.random() < LARGE_SHARE else chance.choice(USUAL)
            files = [folder / f"{suite}{kind}.yaml" for kind in ("", ".claims", ".findings")]
            for file in files:
                if (SUITES / file.name).exists():
                    shutil.copy(SUITES / file.name, file)
            victim = chance.choice([file for file in files if file.exists()])
            text = mutated(victim.read_text(encoding="utf-8"), chance)
            victim.write_text(text, encoding="utf-8", errors="surrogatepass")
            if fault := _fault(_readers(files[0], folder / "results")):
                yield f"seed {seed} case {case} ({victim.name}): {fault}"


def _readers(suite: Path, results: Path) -> Iterator[Callable[[], object]]:
    """What reads a suite, its claims and its findings."""
    yield lambda: show_plan(SuiteChoice.of(suite, results=results), as_json=True)
    if claims_of.path_for(suite).exists():
        yield lambda: check_suite(SuiteChoice.of(suite, results=results), CheckOptions(as_json=True))
    if findings_of.path_for(suite).exists():
        yield lambda: _read_findings(suite)


def _read_site(path: Path) -> None:
    load_site(path).parameters("name", 2)


def _read_findings(suite: Path) -> None:
    loaded = SuiteChoice.of(suite).load()
    claims = claims_of.load(claims_of.path_for(suite), loaded).claims
    findings_of.load(findings_of.path_for(suite), loaded, claims)


def _fault(commands: Iterable[Callable[[], object]]) -> str | None:
    """What is wrong with how files are read, or None."""
    for command in commands:
        try:
            with _limited(), contextlib.redirect_stdout(io.StringIO()):
                command()
        except InvalidFile as error:
            if strays := [problem for problem in error.problems if not PLACE.match(problem)]:
                return f"a refusal without a place: {strays[0]}"
        except UserError as error:
            if "no such folder of results" in str(error):  # all files were read before it was looked for
                continue
            return f"a refusal without a place: {error}"
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            return f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {str(error)[:200]}"
    return None
