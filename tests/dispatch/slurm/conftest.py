"""A Slurm cluster for every test marked `slurm`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster, missing
from place import REQUIRED, Place


@pytest.fixture(scope="session")
def running_cluster() -> Iterator[Cluster]:
    if absent := missing():
        why = f"no Slurm on this machine: {', '.join(absent)} not installed"
        if os.environ.get(REQUIRED):
            pytest.fail(f"{why}, but {REQUIRED} is set", pytrace=False)
        pytest.skip(why)
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def place(running_cluster: Cluster, tmp_path: Path) -> Iterator[Place]:
    """A fresh folder on a cluster with nothing in its queue."""
    running_cluster.clear()
    found = Place(running_cluster, tmp_path)
    found.write()
    yield found
    running_cluster.clear()


@pytest.fixture(scope="session")
def undisturbed(running_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Numbers of the toy suite, trained on this machine without a cluster."""
    here = Place(running_cluster, tmp_path_factory.mktemp("undisturbed"))
    here.write()
    here.bench("run", "toy.yaml")
    return here.numbers()
