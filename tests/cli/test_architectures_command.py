"""`bench architectures`: every option of every architecture is listed, with its value and meaning."""

from __future__ import annotations

import pytest

from bench.cli.architectures import options_of
from bench.docstrings import attributes, description, paragraphs
from bench.errors import UserError
from bench.models.architecture import ModelOptions
from bench.models.architectures import ARCHITECTURES
from bench.models.blocks import Mamba
from bench.tasks import TASKS

FIELDS = {
    field
    for architecture in ARCHITECTURES.values()
    for kind in (*map(type, architecture.pattern), type(architecture))
    for field in kind.model_fields
}


def accepted(name: str, option: str) -> bool:
    """Whether a suite may set this option of an architecture."""
    try:
        ARCHITECTURES[name].with_options({option: object()})
    except UserError:
        return False
    except ValueError:  # the option exists, and the value is none of its own
        return True
    return True


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_options_are_those_that_a_suite_may_set(name: str) -> None:
    listed = {option.option for option in options_of(ARCHITECTURES[name])}
    assert listed == {field for field in FIELDS if accepted(name, field)}
    assert set(ModelOptions.model_fields) <= listed


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_option_has_a_meaning_values_and_the_default(name: str) -> None:
    architecture = ARCHITECTURES[name]
    for option in options_of(architecture):
        assert option.meaning, f"the docstring of {option.of} does not describe {option.option}"
        assert option.values
    blocks = {block.name: block for block in architecture.pattern}
    for option in options_of(architecture):
        owner = blocks.get(option.of, architecture)
        assert getattr(owner, option.option) == option.default


def test_an_option_of_two_kinds_of_block_is_listed_for_both() -> None:
    options = options_of(ARCHITECTURES["transformer_first_mamba"])
    assert {(option.of, option.default) for option in options if option.option == "expand"} == {
        ("mamba", 2),
        ("mlp", 4),
    }


def test_a_block_derived_from_another_has_the_meanings_of_both() -> None:
    class Slow(Mamba):
        """Mamba, but slow.

        Attributes:
            delay: steps to wait,
                at least none.
        """

        delay: int = 0

    slow = ARCHITECTURES["mamba"].model_copy(update={"layer": (Slow(),)})
    meanings = {option.option: option.meaning for option in options_of(slow)}
    assert meanings["delay"] == "steps to wait, at least none."
    assert meanings["state"] == "numbers in the state of a channel, N."


def test_a_docstring_is_its_attributes_and_the_rest() -> None:
    text = "First.\n\nAttributes:\n    a: one,\n        and more.\n    b: two.\n\nLast."
    assert attributes(text) == {"a": "one, and more.", "b": "two."}
    assert description(text) == "First.\n\nLast."
    assert (attributes("Only text."), description("Only text.")) == ({}, "Only text.")
    for task in TASKS.values():
        assert "Attributes:" not in description(task.__doc__ or "")


def test_a_docstrings_paragraphs_are_lines_and_its_examples_stay_as_they_are() -> None:
    text = "One\nsentence.\n\nAs here::\n\n    a  b\n    c  d\n\nThe\nend."
    assert paragraphs(text) == "One sentence.\n\nAs here:\n\n    a  b\n    c  d\n\nThe end."
