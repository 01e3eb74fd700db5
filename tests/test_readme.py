"""What the README says is true: its links resolve, its commands exist, its mixer works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import protocol
from bench.models.architectures import Architecture, Positions
from bench.models.backbone import Model
from bench.models.blocks import MLP
from bench.models.sizes import Size

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_and_pictures_exist() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    missing = [target for target in targets if not (ROOT / target).exists()]
    assert missing == []


@pytest.mark.parametrize("name", ["see it work", "the tests"])
def test_both_command_lines_stand_behind_their_marks_on_one_line(name: str) -> None:
    match = re.search(rf"^<!-- {name} -->\n```sh\n(.*)\n```$", README, re.MULTILINE)
    assert match, f"<!-- {name} --> is read by CI"
    assert "-c constraints.txt" in match.group(1)


def test_files_and_folders_of_the_design_table_exist() -> None:
    named = re.findall(r"`(bench/[\w./]+)`", README)
    assert len(set(named)) > 10
    invented = {"bench/models/linear_attention.py"}
    assert [name for name in named if name not in invented and not (ROOT / name).exists()] == []


def test_commands_and_options_it_names_exist() -> None:
    known = subprocess.run(
        [sys.executable, "-m", "bench", "run", "--help"], capture_output=True, text=True, check=True
    ).stdout
    for option in ("--filter", "--limit", "--dry-run", "--retry", "--yes", "--scan"):
        assert option in README
        assert option in known
    commands = set(re.findall(r"`bench (\w+)", README)) | {"plan", "status"}
    shown = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert all(command in shown for command in commands)


def test_the_table_of_differences_is_the_codes() -> None:
    match = re.search(r"<!-- differences -->\n(.*?)\n\n", README, re.DOTALL)
    assert match
    assert match.group(1) == protocol.markdown()


def test_the_mixer_in_the_readme_is_causal_and_counted_right() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) < 40
    namespace: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), namespace)
    architecture = Architecture(
        name="linear_transformer",
        layer=(namespace["LinearAttention"](), MLP()),
        positions=Positions(rows=202, std=0.02),
    )
    model = Model(architecture, Size(layers=2, width=16), n_inputs=3, n_outputs=1, length=10).double()
    assert sum(parameter.numel() for parameter in model.parameters()) == architecture.parameters(
        2, 16, length=10, n_inputs=3, n_outputs=1
    )
    tokens = torch.randn(2, 10, 3, dtype=torch.float64)
    changed = tokens.clone()
    changed[:, 5] += 1
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])
