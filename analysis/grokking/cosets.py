"""Permutations as tuples of images, generated subgroups, their cosets, and how well these cluster.

Elements of S_n are numbered in lexicographic order, as in the operation tables: 0 is the identity.
Products apply the right factor first: (x . y)[i] = x[y[i]].
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Permutation = tuple[int, ...]
Side = Literal["left", "right"]
# generators of the subgroup whose cosets Power et al. (2022) see in S5
PUBLISHED = "(0,3)(1,4) (1,2)(3,4)"


def elements(degree: int) -> list[Permutation]:
    """All permutations of `degree` things in lexicographic order."""
    return list(itertools.permutations(range(degree)))


def product(x: Permutation, y: Permutation) -> Permutation:
    """x . y, which applies y first."""
    return tuple(x[i] for i in y)


def inverse(x: Permutation) -> Permutation:
    """The permutation that undoes x."""
    return tuple(int(i) for i in np.argsort(x))


def read(text: str, degree: int) -> list[Permutation]:
    """Permutations from products of cycles, such as the two of "(0,3)(1,4) (1,2)(3,4)"."""
    return [_read_product(word, degree) for word in text.split()]


def _read_product(word: str, degree: int) -> Permutation:
    """One permutation of `degree` things from a product of cycles."""
    if not re.fullmatch(r"(\(\d+(,\d+)*\))+", word):
        raise ValueError(f"generator {word!r}: expected cycles such as (0,3)(1,4), without spaces")
    permutation = tuple(range(degree))
    for cycle in re.findall(r"\(([\d,]+)\)", word):
        things = [int(thing) for thing in cycle.split(",")]
        if max(things) >= degree or len(set(things)) < len(things):
            raise ValueError(
                f"generator {word!r}: expected distinct things out of 0 to {degree - 1} in a cycle"
            )
        images = dict(zip(things, things[1:] + things[:1], strict=True))
        permutation = product(permutation, tuple(images.get(i, i) for i in range(degree)))
    return permutation


def generate(generators: Iterable[Permutation], degree: int) -> frozenset[Permutation]:
    """The subgroup that the generators make."""
    steps, group = list(generators), {tuple(range(degree))}
    new = set(group)
    while new:
        new = {product(x, step) for x, step in itertools.product(new, steps)} - group
        group |= new
    return frozenset(group)


def conjugates(subgroup: frozenset[Permutation], degree: int) -> list[frozenset[Permutation]]:
    """The different g H g^-1 of the subgroup H, itself first."""
    groups: dict[frozenset[Permutation], None] = {}
    for g in elements(degree):
        groups[frozenset(conjugate(h, g) for h in subgroup)] = None
    return list(groups)


def conjugate(h: Permutation, g: Permutation) -> Permutation:
    """g h g^-1."""
    return product(product(g, h), inverse(g))


def cosets(subgroup: frozenset[Permutation], degree: int, side: Side) -> NDArray[np.int64]:
    """The coset of each element, (n!,): g H for "left", H g for "right", numbered as they come."""
    numbers: dict[frozenset[Permutation], int] = {}
    labels = []
    for g in elements(degree):
        coset = frozenset(product(g, h) if side == "left" else product(h, g) for h in subgroup)
        labels.append(numbers.setdefault(coset, len(numbers)))
    return np.array(labels)


def cycle_notation(permutation: Permutation) -> str:
    """A permutation as its cycles, such as (0,3)(1,4); () for the identity."""
    remaining, cycles = set(range(len(permutation))), ""
    while remaining:
        cycle = [min(remaining)]
        while (following := permutation[cycle[-1]]) != cycle[0]:
            cycle.append(following)
        remaining -= set(cycle)
        cycles += f"({','.join(map(str, cycle))})" if len(cycle) > 1 else ""
    return cycles or "()"


@dataclass(frozen=True)
class Partition:
    """Cosets of a conjugate on one side: its generators, each element's label, the silhouette."""

    generators: str
    side: Side
    labels: NDArray[np.int64]
    silhouette: float


@dataclass(frozen=True)
class Separation:
    """All partitions in cosets, the one that separates best first, and what chance does as well.

    random: (draws,), the best silhouette of as many random partitions with the same sizes. p: share
    of draws that are as good as the best, the observed one counted among them.
    """

    partitions: tuple[Partition, ...]
    random: NDArray[np.float64]

    @property
    def p(self) -> float:
        """(1 + draws as good) / (1 + draws)."""
        return float(
            (1 + (self.random >= self.partitions[0].silhouette).sum()) / (1 + len(self.random))
        )


def separation(
    rows: NDArray[np.float64], generators: Sequence[Permutation], draws: int = 200
) -> Separation:
    """How well rows (n!, width) cluster by the cosets of the generated subgroup or a conjugate.

    Silhouettes are of Euclidean distances in the full width: 1 for tight clusters far apart, 0 or
    less for none. The best of several partitions is compared with the best of as many random ones.
    ValueError unless the subgroup is neither trivial nor everything.
    """
    order = len(generate(generators, len(generators[0])))
    if not 1 < order < len(rows):
        raise ValueError(
            f"the generators make a subgroup of {order} of {len(rows)} elements: no clusters"
        )
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    ranked = sorted(_partitions(distances, generators), key=lambda p: -p.silhouette)
    random, labels = np.random.default_rng(0), ranked[0].labels
    best = []
    for _ in range(draws):
        best.append(max(silhouette(distances, random.permutation(labels)) for _ in ranked))
    return Separation(tuple(ranked), np.array(best))


def _partitions(
    distances: NDArray[np.float64], generators: Sequence[Permutation]
) -> list[Partition]:
    """The different partitions in left or right cosets of the conjugates."""
    degree = len(generators[0])
    subgroup = generate(generators, degree)
    partitions: dict[bytes, Partition] = {}
    sides: tuple[Side, Side] = ("left", "right")
    for group in conjugates(subgroup, degree):
        names = _generators(subgroup, group, generators)
        for side in sides:
            labels = cosets(group, degree, side)
            key = labels.tobytes()
            if key not in partitions:
                partitions[key] = Partition(names, side, labels, silhouette(distances, labels))
    return list(partitions.values())


def silhouette(distances: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean silhouette (Rousseeuw 1987) of clusters of two or more, from all distances (n, n) and
    labels (n,).

    (b - a) / max(a, b) of each point: a, its mean distance to the rest of its cluster; b, to the
    nearest other cluster.
    """
    points = np.arange(len(labels))
    member = np.eye(labels.max() + 1)[labels]
    sizes, sums = member.sum(axis=0), distances @ member
    inside = sums[points, labels] / (sizes[labels] - 1)
    means = sums / sizes
    means[points, labels] = np.inf
    outside = means.min(axis=1)
    return float(((outside - inside) / np.maximum(inside, outside)).mean())


def _generators(
    subgroup: frozenset[Permutation],
    group: frozenset[Permutation],
    generators: Sequence[Permutation],
) -> str:
    """Generators of a conjugate, conjugated like the subgroup itself."""
    for g in elements(len(generators[0])):
        if {conjugate(h, g) for h in subgroup} == group:
            return " ".join(cycle_notation(conjugate(h, g)) for h in generators)
    raise AssertionError("the group is no conjugate of the subgroup")
