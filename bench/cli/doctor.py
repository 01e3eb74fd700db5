"""`bench doctor`: the versions and devices of this machine, tests of its kernels, and missing packages."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.text import Text

from bench import __version__
from bench.cli import printing
from bench.cli.arguments import Json
from bench.cli.printing import VERDICT_STYLES, Column
from bench.environment import PACKAGES, code_version, cpu_name, package_version
from bench.errors import UserError
from bench.kernels.backends import BACKENDS

EXTRAS = {
    "scikit-learn": "pip install 'icl-bench[baselines]'  (decision-tree baselines in reports)",
    "mamba-ssm": f"{BACKENDS['mamba_ssm'].install}  (official scan; needs nvcc and a GPU)",
    "causal-conv1d": f"{BACKENDS['mamba_ssm'].install}  (official short convolution; needs nvcc and a GPU)",
    "triton": f"{BACKENDS['triton'].install}  (fused GPU kernels; CUDA builds of torch bring it)",
}


def command(
    speed: Annotated[
        bool, typer.Option("--speed", help="Time kernels side by side, and drawing prompts, on the GPU.")
    ] = False,
    train: Annotated[
        int | None,
        typer.Option(
            "--train",
            min=1,
            max=1_000_000,
            help="Train small models for this many steps with every backend; compare their losses.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show this machine's versions and devices, and compare its kernels with their references."""
    if speed and train:
        raise UserError("doctor: --speed and --train would disturb each other: give only one of them")
    if speed:
        from bench.cli.doctor_speed import show_kernel_speeds

        show_kernel_speeds(json)
        return
    if train:
        from bench.cli.doctor_train import show_agreement

        raise typer.Exit(show_agreement(train, json))
    raise typer.Exit(examine(json))


def examine(as_json: bool) -> int:
    """Print the findings and return the exit code: 1 if a kernel disagrees with its reference."""
    facts = _examine()
    if as_json:
        printing.Output().json(facts)
    else:
        _show(facts)
    return 1 if any(test["verdict"] == "disagrees" for test in facts["self_test"]) else 0


def _examine() -> dict[str, Any]:
    import torch

    from bench.kernels.backends import NAMES
    from bench.kernels.self_test import LENGTHS, self_test

    torch.set_num_threads(1)
    devices = [torch.device("cpu")]
    devices += [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    tests: list[dict[str, Any]] = []
    tested = devices[:2]  # GPUs of one machine are alike
    for device in tested:
        lengths = LENGTHS if device.type == "cuda" else LENGTHS[:2]
        for outcome in self_test(device, NAMES, lengths):
            verdict = "agrees" if outcome.agrees else "disagrees"
            verdict = "not available" if outcome.unavailable else verdict
            tests.append({"device": str(device), **asdict(outcome), "verdict": verdict})
    commit, dirty = code_version()
    missing = {name: how for name, how in EXTRAS.items() if package_version(name) is None}
    return {
        "bench": __version__,
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "packages": {name: package_version(name) for name in (*PACKAGES, "submitit")},
        "cuda": torch.version.cuda,
        "devices": [_device(device) for device in devices],
        "slurm": shutil.which("sbatch"),
        "self_test": tests,
        "kernels": [_chosen(str(device), tests) for device in tested],
        "missing": missing,
    }


def _chosen(device: str, tests: list[dict[str, Any]]) -> dict[str, str]:
    """The backend that a run uses on `device` unless --kernels says otherwise, and why."""
    from bench.kernels.backends import AUTO, resolve

    name, reason = resolve(AUTO, device)
    own_tests = [test for test in tests if (test["device"], test["backend"]) == (device, name)]
    wrong = ", ".join(dict.fromkeys(test["kernel"] for test in own_tests if test["verdict"] != "agrees"))
    if wrong:
        reason += f"; but its {wrong} disagrees, so runs refuse it: choose another with --kernels"
    chosen = {"device": device, "backend": name, "reason": reason}
    if name == "triton":
        from bench.kernels.scan.cuda import language

        chosen["scan"] = language(int(device.partition(":")[2]))
    return chosen


def _device(device: Any) -> dict[str, Any]:
    import torch

    if device.type == "cpu":
        return {"device": "cpu", "name": cpu_name(), "cores": os.cpu_count()}
    properties = torch.cuda.get_device_properties(device)
    return {
        "device": str(device),
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "compute_capability": f"{properties.major}.{properties.minor}",
    }


def _show(facts: dict[str, Any]) -> None:
    out = printing.Output()
    commit = facts["commit"][:12] if facts["commit"] else "not a checkout"
    commit += " with changes" if facts["dirty"] else ""
    out.say(f"bench {facts['bench']} ({commit}), Python {facts['python']}, CUDA of torch: {facts['cuda']}")
    out.say("Packages: " + ", ".join(f"{name} {v}" for name, v in facts["packages"].items() if v))
    for device in facts["devices"]:
        details = (f"{key} {value}" for key, value in device.items() if key not in ("device", "name"))
        out.say(f"Device {device['device']}: {device['name']} ({', '.join(details)})")
    out.say(f"Slurm: {facts['slurm'] or 'no sbatch on the path'}")
    columns = [Column("device"), Column("kernel"), Column("backend"), Column("tokens", number=True)]
    columns += [
        Column("outputs", number=True),
        Column("gradients", number=True),
        Column("verdict", folds=True),
    ]
    columns += [Column("ms", number=True, spare=True)]
    rows = [_row(test) for test in facts["self_test"]]
    out.print(printing.table(out, columns, rows, title="Kernels against their references"))
    out.say("Errors are relative to the largest entry of each output and gradient, against float64.")
    for chosen in facts["kernels"]:
        out.say(f"Runs on {chosen['device']} use {chosen['backend']} ({chosen['reason']}).")
        if "scan" in chosen:
            out.say(f"Its selective scan runs in {chosen['scan']}.")
    for name, how in facts["missing"].items():
        out.say(f"Missing {name}: {how}")


def _row(test: dict[str, Any]) -> tuple[printing.Cell, ...]:
    names = test["device"], test["kernel"], test["backend"]
    verdict = Text(test["verdict"], VERDICT_STYLES[test["verdict"]])
    if test["unavailable"]:
        return (*names, "", "", "", verdict.append(f": {test['unavailable']}"), "")
    numbers = str(test["length"]), f"{test['outputs']:.1e}", f"{test['gradients']:.1e}"
    return (*names, *numbers, verdict, f"{test['milliseconds']:.1f}")
