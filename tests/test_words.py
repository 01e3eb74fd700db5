"""Names for people: the titles of architectures and tasks."""

from __future__ import annotations

import pytest

from bench.frozen import identity
from bench.models.architectures import ARCHITECTURES
from bench.tasks import TASKS
from bench.tasks.recall import VectorMQAR
from bench.words import architecture_name, task_name


class UserMQAR(VectorMQAR):
    """A user's task, which has the title of its base class."""


def test_every_architecture_and_task_has_a_name_of_its_own() -> None:
    assert len({architecture_name(name) for name in ARCHITECTURES}) == len(ARCHITECTURES)
    assert len({task_name(name) for name in TASKS}) == len(TASKS)


def test_a_name_is_the_title_or_else_the_name() -> None:
    assert (architecture_name("mamba2"), architecture_name("of_a_plugin")) == ("Mamba-2", "of_a_plugin")
    assert task_name("token_mqar") == "MQAR of tokens"
    assert task_name("linear_regression") == "Linear regression"
    assert task_name("of_a_plugin") == "Of a plugin"


def test_a_plugin_names_its_architecture(monkeypatch: pytest.MonkeyPatch) -> None:
    titled = ARCHITECTURES["mamba"].model_copy(update={"name": "mine", "title": "My Mamba"})
    monkeypatch.setitem(ARCHITECTURES, "mine", titled)
    assert (architecture_name("mine"), architecture_name("mamba")) == ("My Mamba", "Mamba")


def test_a_copy_does_not_take_the_title_of_its_original(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ARCHITECTURES, "mine", ARCHITECTURES["mamba"].model_copy(update={"name": "mine"}))
    monkeypatch.setitem(TASKS, "mine", UserMQAR)
    assert (architecture_name("mine"), architecture_name("mamba")) == ("mine", "Mamba")
    assert (task_name("mine"), task_name("vector_mqar")) == ("Mine", "Vector-valued MQAR")


def test_a_title_is_not_part_of_the_identity() -> None:
    mamba = ARCHITECTURES["mamba"]
    renamed = mamba.model_copy(update={"title": "S6"})
    assert renamed != mamba
    assert identity(renamed) == identity(mamba)
