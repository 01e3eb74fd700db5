"""The page (index.html) and the README: the same sections, in HTML and in Markdown.

The page is one file: styles, figures and one script are inside it, and nothing is fetched. The script adds
the facts of a point, the filters and the search; everything else shows without it. Links lead to the files
beside the page. Text from a suite or a result is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from bench.check import counts
from bench.digits import scientific
from bench.files import utf8
from bench.report.figures.drawing import Drawing
from bench.report.page.contents import Report
from bench.report.page.rules import DRAWS_RULES, RULES
from bench.report.page.runs import packed
from bench.report.page.svg import FONTS, SharedParts, again, inline, variable
from bench.report.style import DARK
from bench.report.tables.table import as_markdown
from bench.report.text import first_sentence, markdown, unbroken
from bench.report.verdict_text import measured_text, share_text

TEMPLATES = Path(__file__).parent / "templates"


def html(report: Report, drawn: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """The page.

    Args:
        report: the contents.
        drawn: by figure name, its files by ending.
    """
    prefixes: dict[str, str] = {}
    shared = SharedParts()

    def picture(drawing: Drawing) -> Markup:
        # Our own SVG: every name in it was escaped when it was written. A figure may be shown twice.
        svg = drawn[drawing.name]["svg"]
        if drawing.name in prefixes:
            return Markup(again(svg, prefixes[drawing.name], drawing.description, drawing.spots))
        prefixes[drawing.name] = f"f{len(prefixes) + 1}"
        return Markup(inline(svg, prefixes[drawing.name], drawing.description, drawing.spots, shared))

    themes = {
        "light": [(variable(colour), colour) for colour in DARK],
        "dark": [(variable(colour), dark) for colour, dark in DARK.items()],
    }
    lines = (TEMPLATES / "page.js").read_text(encoding="utf-8").splitlines()
    words = (line.strip() for line in lines)  # no string of the script spans lines
    script = Markup("\n".join(line for line in words if line and not line.startswith("//")))
    text = _environment().get_template("index.html.j2").render(
        report=report, fonts=Markup(FONTS), picture=picture, rules=RULES, themes=themes, script=script,
        runs=_embedded(packed(report.runs)),
    )  # fmt: skip
    return utf8(text)


def _embedded(value: Any) -> Markup:
    """JSON that is safe inside a script element, whatever text it contains."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def markdown_files(report: Report) -> dict[str, bytes]:
    """The same as Markdown: README.md, and beside it findings, verdicts, rules and a file per experiment."""

    def text(template: str, **more: Any) -> bytes:
        words = _environment().get_template(template).render(report=report, rules=RULES, **more)
        return utf8(words)

    return {
        "README.md": text("README.md.j2"),
        **({"findings.md": text("findings.md.j2")} if report.findings else {}),
        **({"verdicts.md": text("verdicts.md.j2")} if report.verdicts else {}),
        "methods.md": text("methods.md.j2"),
        **{
            f"experiments/{experiment.anchor}.md": text("experiment.md.j2", experiment=experiment)
            for experiment in report.experiments
        },
    }


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        counts=counts,
        first_sentence=first_sentence,
        md=markdown,
        measured=measured_text,
        scientific=scientific,
        share_of_draws=share_text,
        table=lambda table: Markup(as_markdown(table)),
        unbroken=unbroken,
    )
    environment.globals["draws_rules"] = DRAWS_RULES
    return environment
