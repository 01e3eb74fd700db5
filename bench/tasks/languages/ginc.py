"""GINC, in-context learning as inference of a concept (paper §3.2.6, Table 4; Xie et al. 2021)."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks import weighted
from bench.tasks.baselines import Baseline, Kind, summarise
from bench.tasks.draws import Draws
from bench.tasks.epochs import shuffled_rows
from bench.tasks.languages.published import (
    PROMPT_LENGTHS,
    PROMPTS,
    SHOWN_EXAMPLES,
    TRAINING_DOCUMENTS,
    TRAINING_LENGTH,
    VALIDATION_LENGTH,
)
from bench.tasks.task import MAIN, Evaluation, Metric, Prompts
from bench.tasks.tokens import NextToken, token_prompts

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLE_LENGTHS = PROMPT_LENGTHS[::-1]
"""k of the evaluations; the first, 10, is that of the main one."""
TRAINING, VALIDATION = "training", "validation"
SELECTION_SEED = 1115
"""Seed of the prompts on which learning rates are chosen. The published prompts have 1114."""
BAYES_PROMPTS = 200
"""Prompts that the Bayes rule with layout uses. It needs a filter for each concept and start property."""


class GINC(NextToken):
    """Documents of a mixture of five hidden Markov models. In-context prompts are not trained on.

    ::

        training       9 / 70 51 54 48 54 54 …     predict every next word, in blocks of documents
        in context     22 23 24 / 22 37 ?          n = 1 example of k = 3 words, then k − 1 words: 46 is right

    Both are from the published data with 100 words, whose word 0 is the delimiter /.

    A hidden state is an entity and a property, which determine the word. The five concepts differ in how the
    property moves. All examples of a prompt have one concept and one start property. The right output is the
    word that is most likely given both. Every number of examples n has prompts of its own.

    Documents and prompts are those of the published instance with `symbols` words: 1,000 training documents
    of 10,240 words, 100 validation documents of 1,024 words, 2,500 prompts for each k and n. Training takes
    blocks of `block` words in an order that is shuffled for each epoch; no block has words of two documents.
    A model that carries its state from step to step takes consecutive blocks of streams instead.
    The evaluation sets have the first of the published prompts.

    Scores:

    - `report`: accuracy of the most likely word in prompts with k = 10 (`length_8`, `length_5` and `length_3`
      with shorter examples), by the number of examples. The headline is at the most examples;
    - `validation`: cross-entropy of the validation documents in nats; its exponential is the perplexity. Its
      floor is the Bayes rule: a perplexity of 4.097 for 100 words;
    - `training`: the same on the first training documents.

    Words are tokens from 1 on; token 0 stands for the end of a text and does not occur, as in the published
    data. The mixture has ten permutations per concept, as in the released code, not 100 as in the text.
    """

    title: ClassVar[str] = "GINC"
    metric: ClassVar[Metric] = "accuracy"
    validation: ClassVar[tuple[str, str] | None] = (VALIDATION, VALIDATION)
    other_evaluations: ClassVar[tuple[str, ...]] = (VALIDATION, TRAINING)
    most_evaluation_prompts: ClassVar[int | None] = PROMPTS
    evaluated_together: ClassVar[int] = 256  # most prompts are short
    independent_prompts: ClassVar[bool] = True

    name: Literal["ginc"] = "ginc"
    symbols: Literal[50, 100, 150] = 100
    block: PositiveInt = 1024
    documents: PositiveInt = TRAINING_DOCUMENTS

    @model_validator(mode="after")
    def _blocks_fit(self) -> Self:
        if self.block < 2 or VALIDATION_LENGTH % self.block:
            raise ValueError(f"block must divide {VALIDATION_LENGTH} and be at least 2, got {self.block}")
        if self.block < EXAMPLE_LENGTHS[0]:
            raise ValueError(
                f"block must be at least {EXAMPLE_LENGTHS[0]}, so that a prompt fits, got {self.block}"
            )
        if self.documents > TRAINING_DOCUMENTS:
            raise ValueError(f"there are {TRAINING_DOCUMENTS} training documents, got {self.documents}")
        return self

    @property
    def vocabulary(self) -> int:
        """The words, and the end of a text."""
        return self.symbols + 1

    @property
    def n_points(self) -> int:
        """Words of a block."""
        return self.block

    @property
    def trivial(self) -> float:
        """Accuracy of a random token."""
        return 1 / self.vocabulary

    @property
    def headline(self) -> str | None:
        return "last"

    def shown_examples(self, k: int) -> tuple[int, ...]:
        """Numbers of examples with which prompts of length k fit into a block."""
        return tuple(n for n in SHOWN_EXAMPLES if n * (k + 1) + k - 1 <= self.block)

    @property
    def cells(self) -> list[tuple[str, int, int]]:
        """Evaluation, k and n of all prompts, in the order in which a row of a set contains them."""
        return [(_of_length(k), k, n) for k in EXAMPLE_LENGTHS for n in self.shown_examples(k)]

    def evaluations(self) -> dict[str, Evaluation]:
        evaluations = {}
        for k in EXAMPLE_LENGTHS:
            shown = self.shown_examples(k)
            marks = {f"{n}_examples": column for column, n in enumerate(shown) if n > 1}
            evaluations[_of_length(k)] = Evaluation(shown, {**marks, "last": len(shown) - 1}, 1.0)
        # Targets from number 1, 2, 4, 8, … of a block on, each to the next.
        begins = tuple(2**power for power in range((self.block - 1).bit_length()))
        for name in (VALIDATION, TRAINING):
            evaluations[name] = Evaluation(
                begins, {"last": len(begins) - 1}, self.uniform_cross_entropy, "words before", "cross_entropy"
            )
        return evaluations

    # Blocks of documents.

    def batch(self, draws: Draws, size: int) -> Prompts:
        blocks = _training_blocks(self.symbols, self.documents, self.block, draws.step.device)
        return self._text(blocks[shuffled_rows(draws, size, len(blocks))])

    def windows_per_stream(self, size: int) -> int | None:
        return self.documents * (TRAINING_LENGTH // self.block) // size

    def windows(self, draws: Draws, size: int) -> Prompts:
        """The next blocks of `size` streams, into which all documents are cut in order.

        The last word of a block has a target too, the first word of the next block of its stream.
        """
        blocks = _training_blocks(self.symbols, self.documents, self.block, draws.step.device)
        count = self.windows_per_stream(size)
        assert count is not None
        at = draws.step % count
        rows = torch.arange(size, device=draws.step.device) * count + at
        ids = blocks[rows].long() + 1
        following = torch.where(at < count - 1, blocks[(rows + 1) % len(blocks), :1].long() + 1, 0)
        targets = torch.cat((ids[:, 1:], following), dim=1)
        return token_prompts(ids, targets, targets > 0, {})

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        """Random blocks of training documents."""
        blocks = _training_blocks(self.symbols, self.documents, self.block, draws.step.device)
        return self._text(blocks[draws.integers("block", len(blocks), batch)])

    def _text(self, blocks: Tensor) -> Prompts:
        """Blocks (B, block) as prompts: every word but the first is a target."""
        ids = blocks.long() + 1
        targets = torch.nn.functional.pad(ids[:, 1:], (0, 1))
        return token_prompts(ids, targets, targets > 0, {})

    # Evaluation.

    def sample_evaluation(self, draws: Draws, count: int, evaluation: str = MAIN) -> Prompts:
        """The first `count` published prompts; for the choice of learning rates, other prompts like them.

        The sets of documents do not depend on `count`: they are all validation documents, and as many words
        of the training documents.

        Returns:
            Blocks of documents, as `batch` does; or rows of one prompt for each of C `cells`: tokens
            (count, C, longest), zero behind the end of a prompt, and the right words as targets (count, C).
        """
        from bench.tasks.languages import hidden_markov

        if evaluation in (VALIDATION, TRAINING):
            training, validation = hidden_markov.documents(self.symbols)
            words = validation.words if evaluation == VALIDATION else training.words[: self.documents]
            words = words[: len(validation.words), :VALIDATION_LENGTH].reshape(-1, self.block)
            return self._text(torch.from_numpy(words))
        if draws.purpose == MAIN:
            sets = hidden_markov.published_prompts(self.symbols, count)
        else:
            sets = hidden_markov.more_prompts(self.symbols, SELECTION_SEED, count)
        cells = self.cells
        longest = max(n * (k + 1) + k - 1 for _, k, n in cells)
        tokens = torch.zeros(count, len(cells), longest, dtype=torch.int64)
        targets = torch.zeros(count, len(cells), dtype=torch.int64)
        for cell, (_, k, n) in enumerate(cells):
            chosen = torch.from_numpy(sets[k, n].words)
            tokens[:, cell, : chosen.shape[1]] = chosen + 1
            targets[:, cell] = torch.from_numpy(sets[k, n].labels) + 1
        return Prompts(tokens, targets, tokens)

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Whether the most likely word is the next one, (B, L)."""
        return (outputs.argmax(dim=-1) == prompts.targets).float()

    def measure(self, predict: Callable[[Tensor], Tensor], prompts: Prompts, name: str) -> dict[str, Tensor]:
        if name in (VALIDATION, TRAINING):
            return {name: self._by_begin(self.losses(predict(prompts.tokens), prompts)[:, :-1])}
        return {_of_length(k): self._accuracies(predict, prompts, k) for k in EXAMPLE_LENGTHS}

    def measure_selection(self, predict: Callable[[Tensor], Tensor], prompts: Prompts) -> dict[str, Tensor]:
        return {MAIN: self._accuracies(predict, prompts, EXAMPLE_LENGTHS[0])}

    def _accuracies(self, predict: Callable[[Tensor], Tensor], prompts: Prompts, k: int) -> Tensor:
        """Whether the most likely word is the right one in prompts of length k, by number of examples."""
        scores = []
        for cell, (_, length, n) in enumerate(self.cells):
            if length == k:
                outputs = predict(prompts.tokens[:, cell, : n * (k + 1) + k - 1])
                scores.append(outputs[:, -1].argmax(dim=-1) == prompts.targets[:, cell])
        return torch.stack(scores, dim=1).float()

    def positions_per_column(self, prompts: Prompts, name: str) -> Tensor | None:
        if name not in (VALIDATION, TRAINING):
            return None
        return self._by_begin(torch.ones(len(prompts.tokens), self.block - 1))

    def _by_begin(self, values: Tensor) -> Tensor:
        """Sums of values at targets 1 … block − 1, (B, block − 1), over the range of each column, float64."""
        begins = self.evaluations()[VALIDATION].positions
        ends = (*begins[1:], self.block)
        sums = [
            values[:, begin - 1 : end - 1].double().sum(dim=1)
            for begin, end in zip(begins, ends, strict=True)
        ]
        return torch.stack(sums, dim=1)

    # Baselines.

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        from bench.tasks.languages import ginc_baselines, hidden_markov

        few = min(BAYES_PROMPTS, len(prompts.targets))
        model, sets = hidden_markov.mixture(self.symbols), hidden_markov.published_prompts(self.symbols, few)
        baselines = []
        for k in EXAMPLE_LENGTHS:
            shown, name = self.shown_examples(k), _of_length(k)
            started = time.perf_counter()
            guess = torch.full((len(prompts.targets), len(shown)), self.trivial)
            baselines.append(summarise("random token", "trivial", guess, started, shown, name))
            columns = []
            for n in shown:
                right = ginc_baselines.prompt_bayes(model, sets[k, n], k) == sets[k, n].labels
                columns.append(torch.from_numpy(right))
            scores = torch.stack(columns, dim=1)
            baselines.append(summarise("Bayes rule with layout", "floor", scores, started, shown, name))
        return baselines

    def other_baselines(self, prompts: Prompts, evaluation: str) -> list[Baseline]:
        from bench.tasks.languages import ginc_baselines, hidden_markov

        started, words = time.perf_counter(), prompts.tokens - 1
        begins = self.evaluations()[evaluation].positions
        counts = self.positions_per_column(prompts, evaluation)
        assert counts is not None

        def row(name: str, kind: Kind, losses: Tensor) -> Baseline:
            sums = self._by_begin(losses)
            columns, overall = weighted.columns_and_overall(sums, counts)
            return summarise(name, kind, columns, started, begins, evaluation, overall)

        model = hidden_markov.mixture(self.symbols)
        exact = torch.from_numpy(ginc_baselines.bayes_filter(model, words.numpy()))
        frequency = torch.bincount(words.flatten(), minlength=self.symbols).double() / words.numel()
        return [
            row("uniform", "trivial", torch.full_like(exact, self.uniform_cross_entropy)),
            row("Bayes rule", "floor", exact),
            row("word frequencies", "baseline", -frequency[words[:, 1:]].log()),
        ]


def _of_length(k: int) -> str:
    return MAIN if k == EXAMPLE_LENGTHS[0] else f"length_{k}"


@cache  # not a bounded cache: a captured step reads the tensor at its address
def _training_blocks(symbols: int, documents: int, block: int, device: torch.device) -> Tensor:
    """Blocks of the training documents, (blocks, block) uint8, on the device."""
    from bench.tasks.languages import hidden_markov

    words = hidden_markov.documents(symbols)[0].words[:documents]
    whole = TRAINING_LENGTH // block * block
    blocks: Tensor = torch.from_numpy(words[:, :whole].reshape(-1, block)).to(device)
    return blocks
