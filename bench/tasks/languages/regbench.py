"""RegBench, in-context learning of regular languages (paper §3.2.6, Table 5; Akyürek et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bench.lazy import torch
from bench.tasks.draws import Draws
from bench.tasks.epochs import MOST_PROMPTS, shuffled_rows
from bench.tasks.languages.automata import (
    PADDING,
    Sizes,
    draw_automata,
    draw_lengths,
    draw_texts,
    text_lengths,
)
from bench.tasks.languages.regbench_baselines import regbench_baselines
from bench.tasks.task import MAIN, SELECTION, Evaluation, Metric, Prompts
from bench.tasks.tokens import CROSS_ENTROPY, NextToken, token_prompts

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.baselines import Baseline

TOTAL_VARIATION, TRAINING = "total_variation", "training"
MOST_LETTERS = 60
"""Largest alphabet: sets of letters are bits of an int64."""
MOST_TOKENS = 20_000
"""Longest prompt: far more than can be trained, and few enough to draw."""
QUANTILES = (0.25, 0.5, 0.75, 0.95, 0.999)
"""Levels of the length of a batch's longest prompt, which give the lengths of batches. Stacks need the upper
levels, because they join the batches of their members."""
MULTIPLE = 16
"""Lengths of batches are multiples of this, the tokens of a block in most kernels."""
SAMPLE = 1 << 14
"""Prompts from which the quantiles are computed. They do not depend on the seed of a run."""
STEPS_AT_ONCE = 1024
"""Steps whose lengths are computed together."""
MOST_STORED = 1 << 26
"""Largest training set, in bytes, that is kept on the device. A larger one is drawn anew in every step."""
LANGUAGES_AT_ONCE = 1024
"""Languages that are drawn together for such a set."""


class RegBench(NextToken, Sizes):
    """Strings of a random regular language, joined by separators: predict the next letter.

    One prompt, of an automaton with the edges 0 –a→ 1, 1 –b→ 0, 1 –c→ 2, 2 –b→ 0::

        token      a  b  a  c  |  a  |  a  c  b
        next       b  a  c  |  a  |  a  c  b             not scored where the next token is a separator
        allowed    bc a  bc    a     a  bc b

    A language is an automaton with 4 to 12 states. Each state has 1 to 3 equally likely edges, to other
    states, with letters of the language's own alphabet. A prompt has 10 to 19 strings of 1 to 49 letters.
    These defaults are what the released code of Akyürek et al. draws: its ranges leave out their upper ends.

    Scores, each a mean over all scored positions of all languages:

    - `report`: the share of positions where the most likely token is allowed by the automaton;
    - `cross_entropy`: in nats; its exponential is the perplexity;
    - `total_variation`: distance between the prediction and the distribution of the automaton;
    - `training`: cross-entropy of the training batches since the last point of the training curve, with
      dropout. It has no error over prompts.

    The validation loss is the cross-entropy of the languages on which learning rates are chosen.

    `languages` is the number of training languages, with one prompt each, which every epoch repeats in
    another order. The paper does not state its number: Akyürek et al. have 1,000 to 40,000.

    Text is drawn at the length of the longest prompt. A training batch is computed at one of a few lengths
    (`padded_lengths`), an evaluation at the length of its prompts. FLOPs count the mean length.
    """

    title: ClassVar[str] = "RegBench"
    metric: ClassVar[Metric] = "accuracy"
    training_evaluation: ClassVar[str | None] = TRAINING
    validation: ClassVar[tuple[str, str] | None] = (SELECTION, CROSS_ENTROPY)
    example_fields: ClassVar[Mapping[str, Any]] = {"languages": 2500}
    independent_prompts: ClassVar[bool] = True

    name: Literal["regbench"] = "regbench"
    languages: PositiveInt = Field(le=MOST_PROMPTS)

    @model_validator(mode="after")
    def _sizes_are_possible(self) -> Self:
        for number in ("states", "letters", "strings"):
            low, high = getattr(self, f"min_{number}"), getattr(self, f"max_{number}")
            if low > high:
                raise ValueError(f"min_{number} {low} exceeds max_{number} {high}")
        if self.max_edges > self.min_states - 1:
            raise ValueError(f"{self.max_edges} edges to other states need min_states {self.max_edges + 1}")
        if self.max_edges > self.min_letters:
            raise ValueError(
                f"{self.max_edges} edges with different letters need min_letters {self.max_edges}"
            )
        if self.max_letters < 2:
            raise ValueError("max_letters must be at least 2: a single letter is always the right answer")
        if self.max_letters > MOST_LETTERS:
            raise ValueError(f"max_letters is at most {MOST_LETTERS}")
        if self.max_string_length < 2:
            raise ValueError("max_string_length must be at least 2: the first letter is never predicted")
        if self.longest > MOST_TOKENS:
            raise ValueError(f"the longest prompt has {self.longest} tokens, more than {MOST_TOKENS}")
        return self

    @property
    def vocabulary(self) -> int:
        """Padding, the letters, and the separator."""
        return self.max_letters + 2

    @property
    def n_points(self) -> int:
        """Tokens that the model reads: all but the last."""
        return self.longest - 1

    @property
    def flops_length(self) -> int:
        strings = (self.min_strings + self.max_strings) / 2
        return round(strings * ((1 + self.max_string_length) / 2 + 1)) - 2

    @property
    def trivial(self) -> float:
        """Accuracy of a random letter: the mean number of edges over the number of letters."""
        return (1 + self.max_edges) / 2 / self.max_letters

    def evaluations(self) -> dict[str, Evaluation]:
        columns = tuple(range(self.min_strings))

        def evaluation(scale: float, metric: Metric | None) -> Evaluation:
            return Evaluation(columns, {"last": len(columns) - 1}, scale, "strings before", metric)

        return {
            MAIN: evaluation(1.0, None),
            CROSS_ENTROPY: evaluation(self.uniform_cross_entropy, "cross_entropy"),
            TOTAL_VARIATION: evaluation(1.0, "total_variation"),
            TRAINING: Evaluation((0,), {"last": 0}, self.uniform_cross_entropy, "training", "cross_entropy"),
        }

    def batch(self, draws: Draws, size: int) -> Prompts:
        rows = shuffled_rows(draws, size, self.languages)
        if self.languages * self.longest <= MOST_STORED:
            # A walk is drawn letter by letter: hundreds of launches on a GPU, in every step.
            by_seed = zip(draws.seeds, rows.chunk(len(draws.seeds)), strict=True)
            texts = [_training_texts(self, seed, draws.step.device)[numbers] for seed, numbers in by_seed]
            ids = (texts[0] if len(texts) == 1 else torch.cat(texts)).long()
        else:
            ids = _texts(self, draws, rows)
        is_letter = (ids != PADDING) & (ids <= self.max_letters)
        return token_prompts(ids[:, :-1], ids[:, 1:], is_letter[:, 1:], {})

    def padded_lengths(self, size: int) -> tuple[int, ...]:
        """The lengths to which batches of `size` training prompts are padded, rising.

        They are quantiles of the longest prompt of a batch, rounded up to a multiple of `MULTIPLE`, and the
        longest prompt that is possible. A batch has no prompt longer than the q-th quantile of all prompts
        with probability q^size.
        """
        return _padded_lengths(self, size)

    def batch_length(self, seed: int, step: int, size: int) -> int:
        block, place = divmod(step, STEPS_AT_ONCE)
        return _batch_lengths(self, seed, size, block)[place]

    def sample(self, draws: Draws, batch: int, n_dims: int | Tensor | None = None) -> Prompts:
        automata = draw_automata(draws, batch, self)
        texts = draw_texts(draws, automata, self)
        allowed = texts.allowed[:, 1:]
        more = {
            "allowed": allowed,
            "state": texts.state[:, 1:],
            "column": texts.string[:, 1:].clamp(max=self.min_strings - 1),
            "letters": automata.letters,
        }
        return token_prompts(texts.tokens[:, :-1], texts.tokens[:, 1:], allowed > 0, more)

    def scores(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Whether the most likely token is allowed, (B, L): 1 or 0."""
        best = outputs.argmax(dim=-1)
        return ((prompts.more["allowed"] >> best) & 1).float()

    def distances(self, outputs: Tensor, prompts: Prompts) -> Tensor:
        """Total variation between the model's and the automaton's distributions of the next token, (B, L)."""
        tokens = torch.arange(self.vocabulary, device=outputs.device)
        allowed = ((prompts.more["allowed"].unsqueeze(-1) >> tokens) & 1).to(outputs.dtype)
        true = allowed / allowed.sum(dim=-1, keepdim=True).clamp(min=1)
        return (outputs.softmax(dim=-1) - true).abs().sum(dim=-1) / 2

    def measure(self, predict: Callable[[Tensor], Tensor], prompts: Prompts, name: str) -> dict[str, Tensor]:
        outputs = predict(prompts.tokens)
        return {
            MAIN: self.by_string(self.scores(outputs, prompts), prompts),
            CROSS_ENTROPY: self.by_string(self.losses(outputs, prompts), prompts),
            TOTAL_VARIATION: self.by_string(self.distances(outputs, prompts), prompts),
        }

    def positions_per_column(self, prompts: Prompts, name: str) -> Tensor:
        return self.by_string(torch.ones(prompts.targets.shape, device=prompts.targets.device), prompts)

    def by_string(self, values: Tensor, prompts: Prompts) -> Tensor:
        """Sums of values (B, L) over the scored positions of each string, (B, columns), float64.

        The last column has all strings from number `min_strings` − 1 on, so every prompt has all columns.
        """
        assert prompts.counted is not None
        values = torch.where(prompts.counted, values.double(), 0.0)
        columns = torch.arange(self.min_strings, device=values.device)
        belongs = (prompts.more["column"].unsqueeze(-1) == columns).double()
        return torch.einsum("bl,blc->bc", values, belongs)

    def baselines(self, prompts: Prompts) -> list[Baseline]:
        return regbench_baselines(self, prompts)


def _training_set(draws: Draws, rows: Tensor) -> Draws:
    """The random numbers of training languages number `rows`, which all steps share."""
    return replace(draws, purpose="training set", step=torch.zeros_like(draws.step), rows=rows)


def _texts(task: RegBench, draws: Draws, rows: Tensor) -> Tensor:
    """Texts of training languages number `rows`, (rows, longest) int64."""
    chosen = _training_set(draws, rows)
    return draw_texts(chosen, draw_automata(chosen, len(rows), task), task).tokens


@cache  # not a bounded cache: a captured step reads the tensor at its address
def _training_texts(task: RegBench, seed: int, device: torch.device) -> Tensor:
    """Texts of all training languages of a seed, (languages, longest) uint8."""
    draws = Draws(seed, "train", torch.zeros((), dtype=torch.int64, device=device))
    parts = torch.split(torch.arange(task.languages, device=device), LANGUAGES_AT_ONCE)
    return torch.cat([_texts(task, draws, rows).to(torch.uint8) for rows in parts])


def _read_lengths(draws: Draws, batch: int, sizes: Sizes) -> Tensor:
    """Tokens of each prompt that a model reads, (B,): all but the last, which is only a target."""
    return text_lengths(*draw_lengths(draws, batch, sizes)) - 1


@lru_cache(maxsize=16)
def _padded_lengths(task: RegBench, size: int) -> tuple[int, ...]:
    draws = Draws(0, "lengths", torch.zeros((), dtype=torch.int64))
    lengths = _read_lengths(draws, SAMPLE, task).double()
    levels = torch.tensor(QUANTILES, dtype=torch.float64) ** (1 / size)
    quantiles = torch.quantile(lengths, levels, interpolation="higher")
    rounded = (quantiles / MULTIPLE).ceil().long() * MULTIPLE
    return tuple(sorted({*rounded.clamp(max=task.n_points).tolist(), task.n_points}))


@lru_cache(maxsize=16)
def _training_lengths(task: RegBench, seed: int) -> Tensor:
    """`_read_lengths` of the training prompts of a seed, (languages,)."""
    draws = Draws(seed, "train", torch.zeros((), dtype=torch.int64))
    return _read_lengths(_training_set(draws, torch.arange(task.languages)), task.languages, task)


@lru_cache(maxsize=64)
def _batch_lengths(task: RegBench, seed: int, size: int, block: int) -> list[int]:
    """`batch_length` of the steps number block · STEPS_AT_ONCE, …."""
    draws = Draws(seed, "train", torch.tensor(block * STEPS_AT_ONCE))
    rows = shuffled_rows(draws, size, task.languages, STEPS_AT_ONCE)
    longest = _training_lengths(task, seed)[rows].view(STEPS_AT_ONCE, size).amax(dim=1)
    padded = torch.tensor(task.padded_lengths(size))
    lengths: list[int] = padded[torch.searchsorted(padded, longest)].tolist()
    return lengths
