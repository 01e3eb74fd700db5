"""Baselines for RegBench: what the automaton leaves open, the best learner, n-grams in context.

All of them read a text from left to right and predict every letter from what came before. Scores are those
of the task, at the same positions, with the same columns.

Shapes: P texts of M tokens, of which all but the first are targets; A letters; V = A + 2 tokens.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.lazy import torch
from bench.tasks import weighted
from bench.tasks.baselines import Baseline, Kind, summarise
from bench.tasks.task import MAIN
from bench.tasks.tokens import CROSS_ENTROPY

if TYPE_CHECKING:
    from torch import Tensor

    from bench.tasks.languages.regbench import RegBench
    from bench.tasks.task import Prompts

EVALUATIONS = (MAIN, CROSS_ENTROPY, "total_variation")
"""The evaluations on prompts, in the order of `Predicted`."""
ORDERS = (2, 3)
"""n of the n-gram predictors: the two in the figures of Akyürek et al."""


@dataclass(frozen=True)
class Predicted:
    """Scores of a predictor at every target, (P, M − 1) each: expected accuracy, cross-entropy, distance."""

    accuracy: Tensor
    cross_entropy: Tensor
    total_variation: Tensor


@dataclass(frozen=True)
class Letters:
    """The letters of texts, the first of which is no target.

    Attributes:
        token: (P, M) int64.
        counted: (P, M) bool, whether it is a letter.
        state: (P, M) int64, the automaton's state before it.
        choices: (P, M) float64, number of edges of that state.
        true: (P, M − 1, V) float64, the automaton's distribution of every target.
        alphabet: (P,) float64, letters of the language.
    """

    token: Tensor
    counted: Tensor
    state: Tensor
    choices: Tensor
    true: Tensor
    alphabet: Tensor

    @classmethod
    def of(cls, task: RegBench, prompts: Prompts) -> Letters:
        assert prompts.counted is not None
        first = prompts.tokens[:, :1]
        allowed = (prompts.more["allowed"].unsqueeze(-1) >> torch.arange(task.vocabulary)) & 1
        choices = allowed.sum(dim=-1)
        return cls(
            token=torch.cat((first, prompts.targets), dim=1),
            counted=torch.cat((torch.ones_like(first, dtype=torch.bool), prompts.counted), dim=1),
            state=torch.cat((torch.zeros_like(first), prompts.more["state"]), dim=1),
            choices=torch.cat((torch.ones_like(first), choices), dim=1).clamp(min=1).double(),
            true=allowed.double() / choices.clamp(min=1).unsqueeze(-1),
            alphabet=prompts.more["letters"].double(),
        )


def regbench_baselines(task: RegBench, prompts: Prompts) -> list[Baseline]:
    """The learner told the state (the floor), the automaton itself, n-grams, and a random letter."""
    started = time.perf_counter()
    letters = Letters.of(task, prompts)

    def rows(name: str, kinds: Sequence[Kind], predicted: Predicted) -> list[Baseline]:
        """A record per evaluation, of the kinds given for accuracy, cross-entropy and total variation."""
        records, values = [], (predicted.accuracy, predicted.cross_entropy, predicted.total_variation)
        counts = task.positions_per_column(prompts, MAIN)
        for evaluation, kind, scores in zip(EVALUATIONS, kinds, values, strict=True):
            sums = task.by_string(scores, prompts)
            columns, overall = weighted.columns_and_overall(sums, counts)
            records.append(summarise(name, kind, columns, started, evaluation=evaluation, overall=overall))
        return records

    records = [
        *rows("random letter", ("trivial",) * 3, random_letter(task, letters)),
        *rows(
            "learner told the state", ("floor", "floor", "baseline"), learner_told_the_state(task, letters)
        ),
        # Its other scores are constants: it is always right.
        rows("automaton", ("baseline",) * 3, automaton(letters))[1],
    ]
    for order in ORDERS:
        records += rows(f"{order}-gram in context", ("baseline",) * 3, n_gram(task, letters, order))
    return sorted(records, key=lambda record: EVALUATIONS.index(record.evaluation))


def random_letter(task: RegBench, letters: Letters) -> Predicted:
    """The uniform distribution over all letters. Its cross-entropy is over all tokens, as that of a model."""
    choices = letters.choices[:, 1:]
    return Predicted(
        choices / task.max_letters,
        torch.full_like(choices, task.uniform_cross_entropy),
        1 - choices / task.max_letters,
    )


def automaton(letters: Letters) -> Predicted:
    """The automaton itself. Its cross-entropy is what no predictor can know: the choice of the edge."""
    choices = letters.choices[:, 1:]
    return Predicted(torch.ones_like(choices), choices.log(), torch.zeros_like(choices))


def learner_told_the_state(task: RegBench, letters: Letters) -> Predicted:
    """The Bayes optimum of a learner that is told the state before each letter, and the alphabet.

    Edges of different states are independent, so what was seen in other states is of no use. After v visits
    of a state, with r different letters seen of an alphabet of a,

        P(m edges) ∝ C(a − r, m − r) / C(a, m) · m^(−v)            m = max(1, r) … E
        p(seen letter) = Σ_m P(m) / m        p(unseen letter) = Σ_m P(m) (m − r) / (m (a − r))

    No learner that must infer the states can do better in cross-entropy or in expected accuracy. Its most
    likely letter is allowed at a state seen before, and with probability m/a at a new one.
    """
    visits, seen, before = _history(task, letters)
    a = letters.alphabet.unsqueeze(1)
    m = torch.arange(1, task.max_edges + 1, dtype=torch.float64)
    r, v = seen.unsqueeze(-1), visits.unsqueeze(-1)
    log_weight = _log_binomial(a.unsqueeze(-1) - r, m - r) - _log_binomial(a.unsqueeze(-1), m) - v * m.log()
    posterior = torch.where(m >= r.clamp(min=1), log_weight, -torch.inf).softmax(dim=-1)
    p_seen = (posterior / m).sum(dim=-1)
    p_unseen = (posterior * (m - r).clamp(min=0) / m).sum(dim=-1) / (a - seen).clamp(min=1)
    choices = letters.choices[:, 1:]
    distance = seen * (p_seen - 1 / choices).abs() + (choices - seen) * (p_unseen - 1 / choices).abs()
    distance = (distance + (a - choices) * p_unseen) / 2
    probability = torch.where(before, p_seen, p_unseen)
    accuracy = torch.where(visits > 0, 1.0, choices / a)
    # Where the target is no letter, nothing was counted and the probability may be 0.
    return Predicted(accuracy, -probability.clamp(min=1e-300).log(), distance)


def _history(task: RegBench, letters: Letters) -> tuple[Tensor, Tensor, Tensor]:
    """What has happened before at the state of every target, (P, M − 1) each.

    Returns:
        Number of visits of the state, float64; number of different letters seen there, float64; whether the
        target is one of these letters, bool.
    """
    count, length = letters.token.shape
    row = torch.arange(count)
    visits = torch.zeros(count, task.max_states, dtype=torch.float64)
    seen = torch.zeros(count, task.max_states, task.vocabulary, dtype=torch.bool)
    columns = []
    for at in range(length):
        state, token, counted = letters.state[:, at], letters.token[:, at], letters.counted[:, at]
        columns.append((visits[row, state], seen[row, state].sum(dim=1).double(), seen[row, state, token]))
        visits[row, state] += counted.double()
        seen[row, state, token] |= counted
    visited, different, before = (torch.stack(column, dim=1)[:, 1:] for column in zip(*columns, strict=True))
    return visited, different, before


def _log_binomial(n: Tensor, k: Tensor) -> Tensor:
    """The logarithm of the binomial coefficient C(n, k); for k outside 0 … n a finite number to ignore."""
    k = torch.minimum(k.clamp(min=0), n)
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)


def n_gram(task: RegBench, letters: Letters, order: int) -> Predicted:
    """An n-gram model of the text so far, with back-off to shorter contexts (Witten & Bell 1991).

    A context consists of the n − 1 letters before, within the string. Of N letters that followed it so far,
    T different ones, a letter that followed c times has the probability c / (N + T). The rest, T / (N + T),
    goes to the other letters in proportion to the next shorter context, and at the end to all letters evenly.
    The greedy prediction is the most frequent letter after the longest context that occurred.
    """
    A, (count, length) = task.max_letters, letters.token.shape
    row = torch.arange(count)
    tables = [torch.zeros(count, (A + 1) ** k, A + 1, dtype=torch.float64) for k in range(order)]
    context = torch.zeros(count, dtype=torch.int64)  # the last letters in base A + 1; 0 before a string
    columns = []
    for at in range(length):
        token, counted = letters.token[:, at], letters.counted[:, at]
        places = [context % (A + 1) ** k for k in range(order)]
        followers = [table[row, place] for table, place in zip(tables, places, strict=True)]
        if at:
            columns.append(_back_off(followers, A))
        for table, place in zip(tables, places, strict=True):
            table[row, place, torch.where(counted, token, 0)] += counted.double()
        context = torch.where(counted, context * (A + 1) + token, 0) % (A + 1) ** (order - 1)
    probabilities, greedy = (torch.stack(column, dim=1) for column in zip(*columns, strict=True))
    true = letters.true[:, :, : A + 1]
    target = letters.token[:, 1:].clamp(max=A).unsqueeze(-1)  # separators are not scored
    return Predicted(
        (true.gather(2, greedy.unsqueeze(-1)).squeeze(-1) > 0).double(),
        -probabilities.gather(2, target).squeeze(-1).clamp(min=1e-300).log(),
        (probabilities - true).abs().sum(dim=-1) / 2,
    )


def _back_off(followers: Sequence[Tensor], letters: int) -> tuple[Tensor, Tensor]:
    """Probabilities (P, A + 1) of the next letter, entry 0 unused, and the greedy prediction (P,).

    Args:
        followers: for contexts of rising length, how often each letter followed, (P, A + 1).
        letters: A.
    """
    probabilities = torch.full_like(followers[0], 1 / letters)
    probabilities[:, 0] = 0
    greedy = torch.ones(len(probabilities), dtype=torch.int64)
    for counts in followers:
        total, different = counts.sum(dim=1, keepdim=True), (counts > 0).sum(dim=1, keepdim=True)
        shorter = torch.where(counts > 0, 0.0, probabilities)
        left = shorter.sum(dim=1, keepdim=True)
        # Where all letters followed, nothing is left to share.
        share = torch.where(left > 0, different / (total + different), 0.0)
        own = counts * (1 - share) / total.clamp(min=1)
        probabilities = torch.where(total > 0, own + share * shorter / left.clamp(min=1e-300), probabilities)
        greedy = torch.where(total[:, 0] > 0, counts.argmax(dim=1), greedy)
    return probabilities, greedy
