"""The exact Bayes rules of GINC: for documents and for prompts. `GINC.baselines` makes records of them.

Shapes: D documents (or parts) of T words; P prompts; C concepts.
"""

from __future__ import annotations

import numpy as np

from bench.tasks.languages.hidden_markov import (
    CONCEPTS,
    DELIMITER,
    ENTITIES,
    PROPERTIES,
    STATES,
    Array,
    Mixture,
    PromptSet,
    word_probabilities,
)

SMALLEST = 1e-300
"""Stands for a likelihood of zero, where a logarithm or a division needs a number."""


def bayes_filter(model: Mixture, words: Array) -> Array:
    """Cross-entropy of every word but the first under the mixture, (D, T − 1), in nats.

    The forward algorithm over states and concepts. The first state has the distribution of the concept's
    first states. It is nearly the uniform distribution, which is stationary, so the rule holds for parts of
    documents too.

    Args:
        model: the mixture.
        words: (D, T).
    """
    chains = model.properties[:CONCEPTS]
    starts = model.starts[:CONCEPTS].reshape(-1, ENTITIES, PROPERTIES)
    belief = np.tile(starts, (len(words), 1, 1, 1))  # predictive, (D, C, entities, properties)
    weight = np.full((len(words), CONCEPTS), 1 / CONCEPTS)
    losses = []
    for place in range(words.shape[1]):
        belief = belief * (model.memory == words[:, place, None, None, None])
        likelihood = belief.sum(axis=(2, 3))
        joint = weight * likelihood
        probability = joint.sum(axis=1, keepdims=True)
        losses.append(-np.log(probability[:, 0]))
        weight = joint / probability
        belief = model.entities.T @ (belief / np.maximum(likelihood, SMALLEST)[:, :, None, None]) @ chains
    return np.stack(losses[1:], axis=1)


def prompt_bayes(model: Mixture, prompts: PromptSet, k: int) -> Array:
    """The most likely output of prompts given their layout and the concepts, (P,).

    All examples begin at one unknown property of one unknown concept, with entities of their own. The
    posterior over both is the product of the likelihoods of all examples and of the last inputs.
    """
    count = len(prompts.words)
    # The last output is unknown. Two delimiters complete the last line: one in its place, one behind it.
    padded = np.concatenate((prompts.words, np.full((count, 2), DELIMITER)), axis=1)
    lines = padded.reshape(count, -1, k + 1)
    log_posterior = np.zeros((count, CONCEPTS, PROPERTIES - 1))
    outputs = np.empty((count, CONCEPTS, PROPERTIES - 1, int(model.memory.max()) + 1))
    for concept in range(CONCEPTS):
        for start in range(1, PROPERTIES):
            log_likelihood, output = _given_start(model, lines, concept, start)
            log_posterior[:, concept, start - 1], outputs[:, concept, start - 1] = log_likelihood, output
    log_posterior -= log_posterior.max(axis=(1, 2), keepdims=True)
    posterior = np.exp(log_posterior)
    return np.asarray((posterior[..., None] * outputs).sum(axis=(1, 2)).argmax(axis=1))


def _given_start(model: Mixture, lines: Array, concept: int, start: int) -> tuple[Array, Array]:
    """Log-likelihood of prompts, (P,), and distribution of their last output, (P, words), given a start.

    Args:
        model: the mixture.
        lines: (P, examples, k + 1), the examples with a delimiter each. The last output is not read.
        concept: the concept of all examples.
        start: the property at which all examples begin.
    """
    count, per_prompt, width = lines.shape
    k = width - 1
    belief = np.zeros((count * per_prompt, ENTITIES, PROPERTIES))
    belief[:, :, start] = 1 / ENTITIES
    log_likelihood = np.zeros((count, per_prompt))
    for place in range(k):
        if place == k - 1:
            last = belief.reshape(count, per_prompt, STATES)[:, -1].reshape(-1, ENTITIES, PROPERTIES)
            outputs = word_probabilities(model, last)
        belief *= model.memory == lines.reshape(-1, width)[:, place, None, None]
        likelihood = belief.sum(axis=(1, 2))
        is_known = np.ones((count, per_prompt), dtype=bool)
        is_known[:, -1] = place < k - 1
        log = np.log(np.maximum(likelihood, SMALLEST)).reshape(count, per_prompt)
        log_likelihood += np.where(is_known, log, 0)
        belief /= np.maximum(likelihood, SMALLEST)[:, None, None]
        belief = model.entities.T @ belief @ model.properties[concept]
    return log_likelihood.sum(axis=1), outputs
