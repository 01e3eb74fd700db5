"""GINC's mixture of hidden Markov models, its documents and its prompts (Xie et al. 2021, released code).

The published instance is drawn from NumPy's legacy generator, in a fixed order. The functions here draw the
same numbers in the same order, so documents and prompts are the published ones. They are generated once per
process, in a few seconds.

A hidden state is an entity v and a property s; the token is `memory[v, s]`. Entities and properties are
independent chains, and the concepts θ of the mixture differ in the chain of properties only:

    p((v, s) → (v', s')) = V[v, v'] · S_θ[s, s']

Words are numbered from 0, the delimiter. Shapes: K states, C concepts, D documents of T words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from bench.tasks.languages.published import (
    PLACES,
    PROMPT_LENGTHS,
    SHOWN_EXAMPLES,
    TRAINING_DOCUMENTS,
    TRAINING_LENGTH,
    VALIDATION_DOCUMENTS,
    VALIDATION_LENGTH,
)

Array: TypeAlias = np.ndarray[Any, Any]

ENTITIES = PROPERTIES = 10
STATES = ENTITIES * PROPERTIES
CONCEPTS = 5
"""Of the mixture. The generator draws as many again, for prompts of other concepts, which are not used."""
SEED, PROMPT_SEED = 1111, 1114
PART = 4096
"""Moves computed at once: their rows of the transition matrix fit into a processor's cache."""
DELIMITER = 0


@dataclass(frozen=True)
class Mixture:
    """The hidden Markov models of one vocabulary.

    Attributes:
        memory: (entities, properties) int64, word of each state; property 0 is the delimiter.
        entities: V, (entities, entities).
        properties: S_θ, (2C, properties, properties).
        starts: (2C, K), distribution of the first state of a document.
        state: state of the generator after these draws.
    """

    memory: Array
    entities: Array
    properties: Array
    starts: Array
    state: Any

    def transitions(self, concept: int) -> Array:
        """Transition matrix of a concept, (K, K); state number v · properties + s."""
        return np.kron(self.entities, self.properties[concept])


def _softmax(values: Array) -> Array:
    weights = np.exp(values - values.max())
    return np.asarray(weights / weights.sum())


def _chain(generator: np.random.RandomState, size: int) -> Array:
    """A mixture of ten random permutations, (size, size)."""
    weights = _softmax((generator.random_sample(10) - 0.5) / 0.1)
    permutations = np.stack([np.eye(size)[generator.permutation(size)] for _ in range(10)])
    return np.asarray((weights[:, None, None] * permutations).sum(axis=0))


@lru_cache(maxsize=4)
def mixture(symbols: int) -> Mixture:
    """The published mixture with a vocabulary of `symbols` words, the delimiter included."""
    generator = np.random.RandomState(SEED)
    memory = generator.randint(1, symbols, size=(ENTITIES, PROPERTIES))
    memory[:, 0] = DELIMITER
    starts, properties = [], []
    for _ in range(2 * CONCEPTS):
        starts.append(_softmax((generator.random_sample(STATES) - 0.5) / 10.0))
        properties.append(_chain(generator, PROPERTIES))
    entities = (1 - 0.9) * _chain(np.random.RandomState(SEED + 3), ENTITIES) + 0.9 * np.eye(ENTITIES)
    return Mixture(memory, entities, np.stack(properties), np.stack(starts), generator.get_state())


@dataclass(frozen=True)
class Documents:
    """Documents of the mixture: words (D, T) uint8, and the concept of each document, (D,)."""

    words: Array
    concepts: Array


@lru_cache(maxsize=4)
def documents(symbols: int) -> tuple[Documents, Documents]:
    """The published training and validation documents."""
    model = mixture(symbols)
    generator = np.random.RandomState()
    generator.set_state(model.state)
    training = _documents(model, generator, TRAINING_DOCUMENTS, TRAINING_LENGTH)
    return training, _documents(model, generator, VALIDATION_DOCUMENTS, VALIDATION_LENGTH)


def _documents(model: Mixture, generator: np.random.RandomState, count: int, length: int) -> Documents:
    """Draw documents: the concept, then two uniform numbers per word (state, word) for each document.

    The second number is not used, because a state determines its word, but it is part of the sequence.
    """
    concepts, uniform = np.empty(count, dtype=np.int64), np.empty((length, count))
    for document in range(count):
        concepts[document] = generator.choice(CONCEPTS)
        uniform[:, document] = generator.random_sample(2 * length)[::2]
    starts = np.cumsum(model.starts[:CONCEPTS], axis=1)
    moves = np.cumsum([model.transitions(concept) for concept in range(CONCEPTS)], axis=2)
    moves = moves.reshape(CONCEPTS * STATES, STATES)
    words, table = np.empty((length, count), dtype=np.uint8), model.memory.reshape(-1)
    # The new state is the first whose cumulative probability exceeds the uniform number.
    state = (starts[concepts] > uniform[0][:, None]).argmax(axis=1)
    words[0] = table[state]
    for place in range(1, length):
        state = (moves[concepts * STATES + state] > uniform[place][:, None]).argmax(axis=1)
        words[place] = table[state]
    return Documents(np.ascontiguousarray(words.T), concepts)


@dataclass(frozen=True)
class PromptSet:
    """Prompts of one k and n.

    Attributes:
        words: (P, n (k + 1) + k − 1), examples with delimiters between them, the last without its output.
        labels: (P,), the most likely output given the concept and the start property.
        concepts: (P,), the concept of each prompt.
        properties: (P,), the property at which all examples of a prompt start.
    """

    words: Array
    labels: Array
    concepts: Array
    properties: Array


class _Words:
    """32-bit words of the legacy generator, parsed by hand, because 5 million calls would take a minute."""

    def __init__(self, seed: int) -> None:
        state: Any = np.random.RandomState(seed).get_state(legacy=False)
        self.source: Any = np.random.MT19937()
        self.source.state = state
        self.values: list[int] = []
        self.place = 0  # in `values`
        self.drawn = 0

    def go_to(self, place: int) -> None:
        """Go on at word number `place`, at or after the current one."""
        if place <= self.drawn:
            self.place = len(self.values) - (self.drawn - place)
        else:
            self.source.random_raw(place - self.drawn, output=False)
            self.values, self.place, self.drawn = [], 0, place

    def need(self, count: int) -> None:
        """Have at least `count` words after the current place."""
        if len(self.values) - self.place < count:
            more = self.source.random_raw(max(count, 1 << 16)).tolist()
            self.values, self.place = self.values[self.place :] + more, 0
            self.drawn += len(more)

    def below(self, high: int) -> int:
        """A uniform integer below `high`, as `randint` draws it: masked words until one is small enough."""
        mask = (1 << (high - 1).bit_length()) - 1
        while True:
            if self.place == len(self.values):
                self.need(1)
            value = self.values[self.place] & mask
            self.place += 1
            if value < high:
                return value

    def uniform(self, count: int) -> list[int]:
        """The words of `count` uniform numbers in [0, 1), two each (see `_doubles`)."""
        self.need(2 * count)
        words = self.values[self.place : self.place + 2 * count]
        self.place += 2 * count
        return words


def _doubles(words: Array) -> Array:
    """Doubles in [0, 1) of 53 bits from pairs of words, (…, 2 count) → (…, count)."""
    high, low = words[..., ::2] >> 5, words[..., 1::2] >> 6
    return np.asarray((high * 67108864.0 + low) / 9007199254740992.0)


@lru_cache(maxsize=4)
def published_prompts(symbols: int, count: int) -> dict[tuple[int, int], PromptSet]:
    """The first `count` prompts of the published instance for each k and n."""
    model, words = mixture(symbols), _Words(PROMPT_SEED)
    sets = {}
    for (k, n), place in PLACES.items():
        words.go_to(place)
        sets[k, n] = _prompts(model, words, count, k, n)
    return sets


@lru_cache(maxsize=4)
def more_prompts(symbols: int, seed: int, count: int) -> dict[tuple[int, int], PromptSet]:
    """Other prompts of the same distribution, `count` for each k and n."""
    model, words = mixture(symbols), _Words(seed)
    return {(k, n): _prompts(model, words, count, k, n) for k in PROMPT_LENGTHS for n in SHOWN_EXAMPLES}


def _prompts(model: Mixture, words: _Words, count: int, k: int, n: int) -> PromptSet:
    """The next `count` prompts of `n` examples of `k` words."""
    concepts: list[int] = []
    properties: list[int] = []
    entities: list[int] = []
    numbers: list[int] = []
    for _ in range(count):
        concepts.append(words.below(CONCEPTS))
        properties.append(1 + words.below(PROPERTIES - 1))
        for _ in range(n + 1):
            entities.append(words.below(ENTITIES))
            numbers.extend(words.uniform(k - 1))
    concept, start = np.array(concepts), np.array(properties)
    first = np.array(entities).reshape(count, n + 1) * PROPERTIES + start[:, None]
    uniform = _doubles(np.array(numbers).reshape(count, n + 1, 2 * k - 2))
    return _prompt_set(model, concept, start, first, uniform)


def _prompt_set(
    model: Mixture, concepts: Array, properties: Array, first: Array, uniform: Array
) -> PromptSet:
    """The prompts whose examples begin in the states `first` (P, n + 1) and go on by `uniform` numbers."""
    moves = np.cumsum([model.transitions(concept) for concept in range(CONCEPTS)], axis=2)
    moves = (moves / moves[:, :, -1:]).reshape(CONCEPTS * STATES, STATES)
    states, state = [first], first
    for step in range(uniform.shape[2]):
        rows, numbers = (concepts[:, None] * STATES + state).reshape(-1), uniform[:, :, step].reshape(-1)
        parts = [
            (moves[rows[begin : begin + PART]] > numbers[begin : begin + PART, None]).argmax(axis=1)
            for begin in range(0, len(rows), PART)
        ]
        state = np.concatenate(parts).reshape(first.shape)
        states.append(state)
    examples = model.memory.reshape(-1)[np.stack(states, axis=2)]
    count, per_prompt = first.shape
    lines = np.concatenate((examples, np.full((count, per_prompt, 1), DELIMITER)), axis=2)
    label = next_word(model, examples[:, -1, :-1], concepts, properties).argmax(axis=1)
    return PromptSet(lines.reshape(count, -1)[:, :-2], label, concepts, properties)


def next_word(model: Mixture, words: Array, concepts: Array, properties: Array) -> Array:
    """Distribution of the word after `words` (P, T), which begin at known properties: (P, words).

    The entity at the beginning is uniform.
    """
    belief = np.zeros((len(words), ENTITIES, PROPERTIES))
    belief[np.arange(len(words)), :, properties] = 1 / ENTITIES
    chains = model.properties[concepts]
    for place in range(words.shape[1]):
        belief *= model.memory == words[:, place, None, None]
        belief /= belief.sum(axis=(1, 2), keepdims=True)
        belief = model.entities.T @ belief @ chains
    return word_probabilities(model, belief)


def word_probabilities(model: Mixture, belief: Array) -> Array:
    """Distribution of the word that states emit, from beliefs (…, entities, properties): (…, words)."""
    emission = np.zeros((STATES, int(model.memory.max()) + 1))
    emission[np.arange(STATES), model.memory.reshape(-1)] = 1
    return np.asarray(belief.reshape(*belief.shape[:-2], STATES) @ emission)
