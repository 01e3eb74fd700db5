"""Random probabilistic automata and texts of their strings, after Akyürek et al. (2024).

Every automaton is a row of an endless batch: all of its random numbers are a function of its number. So any
language can be drawn by its number, on any device, with the same bits.

Shapes: B automata of at most S states and E edges per state; K strings of at most T letters; texts of M
tokens; A letters. Token 0 is padding, 1 … A are letters, A + 1 is the separator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import PositiveInt

from bench.frozen import Frozen
from bench.lazy import torch
from bench.tasks.draws import Draws

if TYPE_CHECKING:
    from torch import Tensor

PADDING = 0


class Sizes(Frozen):
    """Ranges of the numbers of a language. Each number is uniform in its range, both ends included."""

    min_states: PositiveInt = 4
    max_states: PositiveInt = 12
    min_letters: PositiveInt = 4
    max_letters: PositiveInt = 18
    max_edges: PositiveInt = 3
    min_strings: PositiveInt = 10
    max_strings: PositiveInt = 19
    max_string_length: PositiveInt = 49

    @property
    def longest(self) -> int:
        """Tokens of the longest text: all strings with separators between them."""
        return self.max_strings * (self.max_string_length + 1) - 1


@dataclass(frozen=True)
class Automata:
    """A batch of automata. State 0 is the initial state, and a string may end in every state.

    Attributes:
        letters: (B,) int64, letters of the language's alphabet.
        edges: (B, S) int64, number of edges of a state. They are equally likely.
        symbols: (B, S, E) int64, letter of each edge, from 1; no state has a letter twice.
        successors: (B, S, E) int64, state at the end of each edge, never the state itself.
    """

    letters: Tensor
    edges: Tensor
    symbols: Tensor
    successors: Tensor

    def allowed(self) -> Tensor:
        """The letters of every state's edges, (B, S) int64: bit c is set if token c may follow."""
        exists = torch.arange(self.symbols.shape[2], device=self.edges.device) < self.edges.unsqueeze(-1)
        return ((1 << self.symbols) * exists).sum(dim=2)


@dataclass(frozen=True)
class Texts:
    """Texts of strings of one language each, padded at the end.

    Attributes:
        tokens: (B, M) int64.
        string: (B, M) int64, number of the string that a token belongs to, from 0.
        state: (B, M) int64, state of the automaton before a letter; 0 where the token is no letter.
        allowed: (B, M) int64, the letters that may stand here instead, as in `Automata.allowed`; 0 where the
            token is no letter.
    """

    tokens: Tensor
    string: Tensor
    state: Tensor
    allowed: Tensor


def draw_automata(draws: Draws, batch: int, sizes: Sizes) -> Automata:
    """Draw automata as the released code of Akyürek et al. does.

    A state has 1 to E edges with different letters of the alphabet, to different states other than itself.
    The released code then minimises automata. That does not change the distribution of strings, because all
    states accept and edges are equally likely, so it is left out.
    """
    S, A, E = sizes.max_states, sizes.max_letters, sizes.max_edges
    states = sizes.min_states + draws.integers("states", S - sizes.min_states + 1, batch)
    letters = sizes.min_letters + draws.integers("letters", A - sizes.min_letters + 1, batch)
    edges = 1 + draws.integers("edges", E, batch, S)
    own = torch.arange(S, device=states.device)
    # The lowest of independent uniform ranks are a uniform subset in uniform order.
    alphabet = _order(draws.uniform("alphabet", batch, A))
    inside = torch.arange(A, device=states.device) < letters.unsqueeze(-1)
    ranks = torch.where(inside.unsqueeze(1), draws.uniform("symbol", batch, S, A), 2.0)
    places = _order(ranks)[:, :, :E]
    symbols = 1 + alphabet.unsqueeze(1).expand(-1, S, -1).gather(2, places)
    ranks = draws.uniform("successor", batch, S, S)
    exists = own < states.view(-1, 1, 1)
    ranks = torch.where(exists & (own != own.unsqueeze(-1)), ranks, 2.0)
    return Automata(letters, edges, symbols, _order(ranks)[:, :, :E])


def draw_lengths(draws: Draws, batch: int, sizes: Sizes) -> tuple[Tensor, Tensor]:
    """Numbers of strings of each text, (B,), and the length of every string, (B, K), which are uniform.

    A text has the first of its K strings.
    """
    K = sizes.max_strings
    strings = sizes.min_strings + draws.integers("strings", K - sizes.min_strings + 1, batch)
    return strings, 1 + draws.integers("length", sizes.max_string_length, batch, K)


def text_lengths(strings: Tensor, lengths: Tensor) -> Tensor:
    """Tokens of each text, (B,), from what `draw_lengths` returned."""
    ends = (lengths + 1).cumsum(1)
    return ends.gather(1, strings.unsqueeze(1) - 1).squeeze(1) - 1


def draw_texts(draws: Draws, automata: Automata, sizes: Sizes) -> Texts:
    """Draw a text of each language: strings of uniform length, random walks from the initial state."""
    batch, E = len(automata.edges), sizes.max_edges
    K, T, M = sizes.max_strings, sizes.max_string_length, sizes.longest
    strings, lengths = draw_lengths(draws, batch, sizes)
    choice = draws.uniform("step", batch, K, T)
    state = torch.zeros_like(lengths)
    successors, symbols = (edges.flatten(1) for edges in (automata.successors, automata.symbols))
    walked, written = [], []
    for t in range(T):
        choices = automata.edges.gather(1, state)
        edge = torch.minimum((choice[:, :, t] * choices).long(), choices - 1)
        walked.append(state)
        written.append(symbols.gather(1, state * E + edge))
        state = successors.gather(1, state * E + edge)
    # A string takes its letters and a separator. `ends` are the first tokens after each string's separator.
    ends = (lengths + 1).cumsum(1)
    place = torch.arange(M, device=state.device)
    string = (place.view(1, -1, 1) >= ends.unsqueeze(1)).sum(2).clamp(max=K - 1)
    begin = (ends - lengths - 1).gather(1, string)
    index = place - begin  # of a token within its string
    inside = place < text_lengths(strings, lengths).unsqueeze(1)
    is_letter = inside & (index < lengths.gather(1, string))
    step = string * T + index.clamp(0, T - 1)
    letter = torch.stack(written, dim=2).flatten(1).gather(1, step)
    separator = torch.full_like(letter, sizes.max_letters + 1)
    tokens = torch.where(is_letter, letter, torch.where(inside, separator, PADDING))
    at = torch.where(is_letter, torch.stack(walked, dim=2).flatten(1).gather(1, step), 0)
    return Texts(tokens, string, at, torch.where(is_letter, automata.allowed().gather(1, at), 0))


def _order(ranks: Tensor) -> Tensor:
    # Stable, so that equal ranks, which are rare, have the same order on every device.
    return ranks.argsort(dim=-1, stable=True)
