"""The site file: its mistakes have places, its values reach submitit, nothing of it reaches a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bench.cli.submit import _check_gpus
from bench.dispatch.job import Machine
from bench.dispatch.slurm.grouping import Capacity
from bench.dispatch.slurm.site import Site, default_path, load_site
from bench.dispatch.slurm.submit import SlurmOptions
from bench.errors import InvalidFile, UserError
from bench.kernels.nvrtc import _cache_folder


def site_file(folder: Path, text: str) -> Path:
    path = folder / "cluster.yaml"
    path.write_text(text)
    return path


def test_a_mistake_has_a_place_and_a_way_out(tmp_path: Path) -> None:
    path = site_file(tmp_path, "partition: gpu\naray_parallelism: 8\ncpus_per_task: zero\n")
    with pytest.raises(InvalidFile) as refused:
        load_site(path)
    first, second = refused.value.problems
    assert first.startswith(f"{path}:2:1: ")
    assert "did you mean 'array_parallelism'?" in first
    assert second.startswith(f"{path}:3:16: ")


def test_a_file_that_is_named_must_exist_and_the_default_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no such file"):
        load_site(tmp_path / "nowhere.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_path() == tmp_path / "bench" / "cluster.yaml"
    assert load_site(None) == Site()
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "cluster.yaml").write_text("account: mine\n")
    assert load_site(None).account == "mine"


@pytest.mark.parametrize("key", ["job_hours", "gpu_memory_gb", "mem_gb"])
def test_a_number_that_no_cluster_has_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(InvalidFile, match=f"{key}: must be at most"):
        load_site(site_file(tmp_path, f"{key}: 1e308\n"))


def test_a_user_without_a_home_has_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A container may run under a number that no list of users has."""
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987_654_321)
    monkeypatch.chdir(tmp_path)
    assert load_site(None) == Site()
    monkeypatch.delenv("TRITON_CACHE_DIR", raising=False)
    assert _cache_folder().is_absolute()


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        ("sbatch: {job-name: mine}", "1:20", "bench cancel find jobs by their names"),
        ("account: x\nsbatch: {nice: 1, time: 60}", "2:25", "use timeout_min"),
        ("sbatch: {ntasks_per_node: 2}", "1:27", "--gpus-per-run"),
        ("device: cuda\ngpus_per_node: 0", "1:9", "gpus_per_node is 0"),
        ("gres: gpu:h100:2\ngpus_per_node: 4", "1:7", "both request GPUs"),
        ("sbatch: {gpus-per-node: 4}", "1:25", "use gpus_per_node or gres"),
        ("mem_gb: 4\nsbatch: {mem: 8G}", "2:9", "leave out one of them"),
        ("sbatch: {--nice: 1}", "1:18", "without dashes before it"),
        ("timeout_min: 2", "1:1", "signal_delay_s 120 is no less than the time limit"),
        ("timeout_min: 20_000_000", "1:14", "must be at most 10000000"),
        ("mem_gb: 1e-5", "1:9", "must be at least 0.001"),
        ("partition: ''", "1:12", "must not be empty"),
        ("account: |\n  a\n  b", "1:10", "must be one line"),
    ],
)
def test_settings_that_contradict_bench_or_each_other_are_refused(
    tmp_path: Path, text: str, place: str, reason: str
) -> None:
    with pytest.raises(InvalidFile) as refused:
        load_site(site_file(tmp_path, text))
    (problem,) = refused.value.problems
    assert f"cluster.yaml:{place}: " in problem
    assert reason in problem


def test_an_option_that_is_false_is_left_out() -> None:
    script = sbatch_script(Site(sbatch={"requeue": False, "hold": True}))
    assert "requeue" not in script
    assert "#SBATCH --hold\n" in script


def test_a_resource_that_is_no_gpu_does_not_stand_for_one() -> None:
    script = sbatch_script(Site(gres="nvme:3", gpus_per_node=2))
    assert "--gres=nvme:3" in script
    assert "--gpus-per-node=2" in script
    assert Site(gres="nvme:3").gpus == 1
    assert Site(gres="mps:50").gpus == 1
    assert "gpus-per-node" not in sbatch_script(Site(gres="mps:50"))
    assert Site(gres="nvme:3,gpu:a100:4").gpus == 4


@pytest.mark.parametrize("text", ["{}\n", "", "# partition: gpu\n", "---\n"])
def test_nothing_has_to_be_said(tmp_path: Path, text: str) -> None:
    assert load_site(site_file(tmp_path, text)) == Site()


def sbatch_script(site: Site, spread: int = 1) -> str:
    """The script that submitit would submit."""
    from submitit.slurm.slurm import _make_sbatch_string

    script: str = _make_sbatch_string(command="true", folder="/tmp", **site.parameters("a-name", spread))
    return script


def test_every_value_reaches_the_script(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "partition": "P1",
        "account": "A1",
        "qos": "Q1",
        "constraint": "C1",
        "exclude": "node7",
        "cpus_per_task": 3,
        "mem_gb": 1.5,
        "timeout_min": 77,
        "signal_delay_s": 55,
        "setup": ("module load something",),
        "srun_args": ("--container-image=x",),
        "sbatch": {"reservation": "R1", "nice": 100},
    }
    script = sbatch_script(Site.model_validate(values))
    for line in (
        "--partition=P1",
        "--account=A1",
        "--qos=Q1",
        "--constraint=C1",
        "--exclude=node7",
        "--cpus-per-task=3",
        "--mem=1536MB",
        "--time=77",
        "--signal=USR2@55",
        "--reservation=R1",
        "--nice=100",
        "--requeue",
        "--gpus-per-node=1",
    ):
        assert f"#SBATCH {line}" in script
    assert "\nmodule load something\n" in script
    assert "--container-image=x" in script


def test_gpus_are_one_a_job_unless_the_site_or_the_run_says_otherwise() -> None:
    assert "--gpus-per-node=1" in sbatch_script(Site())
    assert "gpus" not in sbatch_script(Site(device="cpu"))
    assert "gpus" not in sbatch_script(Site(gpus_per_node=0))
    typed = sbatch_script(Site(gres="gpu:h100:1"))
    assert "--gres=gpu:h100:1" in typed
    assert "gpus-per-node" not in typed
    spread = sbatch_script(Site(), spread=4)
    assert "--gpus-per-node=4" in spread
    assert "--ntasks-per-node=4" in spread


def test_the_time_limit_follows_the_target_unless_it_is_given() -> None:
    assert Site().minutes == 5 * 60
    assert Site(job_hours=10).minutes == 11 * 60
    assert Site(timeout_min=30).minutes == 30


def test_the_gpus_of_a_job_are_counted_where_the_site_names_them() -> None:
    assert Site().gpus == 1
    assert Site(gpus_per_node=4).gpus == 4
    assert [Site(gres=gres).gpus for gres in ("gpu", "gpu:2", "gpu:h100:8", "gpu:a100:2(S:0),nvme:3")] == [
        1, 2, 8, 2,
    ]  # fmt: skip
    assert Site(device="cpu", gres="gpu:2").gpus == Site(gpus_per_node=0).gpus == 0


def test_the_room_of_a_job_is_what_the_site_says_of_it() -> None:
    def room(spread: int = 1, **site: Any) -> Capacity:
        return SlurmOptions(Site.model_validate(site), Machine(), spread).capacity()

    assert room() == Capacity(1, 1, None)  # nothing shares a GPU unless it is asked for
    assert room(gpus_per_node=2, workers=6) == Capacity(6, 2, None)
    assert room(gpus_per_node=2, gpu_memory_gb=80) == Capacity(2, 2, 81_920)
    assert room(gpus_per_node=2, gpu_memory_gb=80, workers=6) == Capacity(6, 2, 81_920)
    assert room(spread=2, gpus_per_node=4, gpu_memory_gb=80, workers=8) == Capacity(1, 1, 81_920)
    assert room(device="cpu", gpu_memory_gb=80, cpus_per_task=4) == Capacity(4, 1, None)
    assert room(device="cpu", workers=3) == Capacity(3, 1, None)


def test_a_run_is_not_spread_over_more_gpus_than_the_site_requests() -> None:
    _check_gpus(SlurmOptions(Site(gres="gpu:h100:2"), Machine(), 2))
    _check_gpus(SlurmOptions(Site(), Machine(), 2))  # requests as many as are needed
    _check_gpus(SlurmOptions(Site(device="cpu", gres="gpu:h100:1"), Machine(), 2))
    with pytest.raises(UserError, match=r"gpus-per-run 4: jobs have 2 GPUs \(gres: gpu:h100:2"):
        _check_gpus(SlurmOptions(Site(gres="gpu:h100:2"), Machine(), 4))
