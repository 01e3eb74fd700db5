"""Finite groups of permutations, for the word problem.

A group is given by generators in cycle notation. Its elements are numbered in the order of their images, so
the identity is number 0. Products are compositions, (a·b)(i) = a(b(i)).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

Group = Literal["Z2", "Z5", "S3", "Z60", "A4xZ5", "A5", "S5"]

Permutation = tuple[int, ...]
Cycles = Sequence[Sequence[int]]

GENERATORS: dict[Group, Sequence[Cycles]] = {
    "Z2": [[(0, 1)]],
    "Z5": [[(0, 1, 2, 3, 4)]],
    "S3": [[(0, 1)], [(0, 1, 2)]],
    "Z60": [[(0, 1, 2)], [(3, 4, 5, 6)], [(7, 8, 9, 10, 11)]],
    "A4xZ5": [[(0, 1, 2)], [(0, 1), (2, 3)], [(4, 5, 6, 7, 8)]],
    "A5": [[(0, 1, 2)], [(2, 3, 4)]],
    "S5": [[(0, 1)], [(0, 1, 2, 3, 4)]],
}
"""Products of groups are permutations of disjoint sets of points."""


def composed(a: Permutation, b: Permutation) -> Permutation:
    """The permutation i ↦ a(b(i))."""
    return tuple(a[image] for image in b)


@lru_cache
def elements(group: Group) -> tuple[Permutation, ...]:
    """All elements of a group, sorted; the first is the identity."""
    identity, *factors = _identity_and_generators(group)
    reached = {identity}
    newest = {identity}
    while newest:
        newest = {composed(a, b) for a in newest for b in factors} - reached
        reached |= newest
    return tuple(sorted(reached))


@lru_cache
def generators(group: Group) -> tuple[int, ...]:
    """The numbers of the identity and of the generators."""
    members = elements(group)
    return tuple(members.index(element) for element in _identity_and_generators(group))


def _identity_and_generators(group: Group) -> list[Permutation]:
    points = 1 + max(point for cycles in GENERATORS[group] for cycle in cycles for point in cycle)
    return [tuple(range(points)), *(_permutation(cycles, points) for cycles in GENERATORS[group])]


def _permutation(cycles: Cycles, points: int) -> Permutation:
    images = list(range(points))
    for cycle in cycles:
        for at, point in enumerate(cycle):
            images[point] = cycle[(at + 1) % len(cycle)]
    return tuple(images)


@lru_cache
def multiplication_table(group: Group) -> tuple[tuple[int, ...], ...]:
    """Row a, column b: the number of a·b."""
    members = elements(group)
    number = {element: index for index, element in enumerate(members)}
    return tuple(tuple(number[composed(a, b)] for b in members) for a in members)


@lru_cache
def derived_subgroup(group: Group) -> frozenset[int]:
    """The numbers of all products of commutators a·b·a⁻¹·b⁻¹.

    It has one element if the group is commutative, and all if the group has no commutative quotient.
    """
    table = multiplication_table(group)
    numbers = range(len(table))
    inverse = [row.index(0) for row in table]
    commutators = {table[table[a][b]][table[inverse[a]][inverse[b]]] for a in numbers for b in numbers}
    subgroup = set(commutators)
    newest = commutators
    while newest:
        newest = {table[a][b] for a in newest for b in commutators} - subgroup
        subgroup |= newest
    return frozenset(subgroup)
