"""Permutations as tuples of images, the subgroups that some generate, their cosets, and how well
cosets cluster.

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
PUBLISHED = (
    "(0,3)(1,4) (1,2)(3,4)"  # generators of the subgroup whose cosets Power et al. (2022) see in S5
)


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
    """Permutations from products of cycles, one a word: "(0,3)(1,4) (1,2)(3,4)". ValueError if they
    are none of S_n.
    """
    found = []
    for word in text.split():
        permutation = tuple(range(degree))
        if not re.fullmatch(r"(\(\d+(,\d+)*\))+", word):
            raise ValueError(
                f"generator {word!r}: expected cycles such as (0,3)(1,4), without spaces"
            )
        for cycle in re.findall(r"\(([\d,]+)\)", word):
            things = [int(thing) for thing in cycle.split(",")]
            if max(things) >= degree or len(set(things)) < len(things):
                raise ValueError(
                    f"generator {word!r}: expected different things out of 0 to {degree - 1} in a "
                    "cycle"
                )
            moved = dict(zip(things, things[1:] + things[:1], strict=True))
            permutation = product(permutation, tuple(moved.get(i, i) for i in range(degree)))
        found.append(permutation)
    return found


def generate(generators: Iterable[Permutation], degree: int) -> frozenset[Permutation]:
    """The subgroup that the generators make."""
    steps, group = list(generators), {tuple(range(degree))}
    new = set(group)
    while new:
        new = {product(x, step) for x in new for step in steps} - group
        group |= new
    return frozenset(group)


def conjugates(subgroup: frozenset[Permutation], degree: int) -> list[frozenset[Permutation]]:
    """The different g H g^-1 of the subgroup H, itself first."""
    every = elements(degree)
    found = (frozenset(product(product(g, h), inverse(g)) for h in subgroup) for g in every)
    return list(dict.fromkeys(found))


def cosets(subgroup: frozenset[Permutation], degree: int, side: Side) -> NDArray[np.int64]:
    """The coset of each element, (n!,): g H for "left", H g for "right", numbered as they come."""
    numbers: dict[frozenset[Permutation], int] = {}
    labels = []
    for g in elements(degree):
        coset = frozenset(product(g, h) if side == "left" else product(h, g) for h in subgroup)
        labels.append(numbers.setdefault(coset, len(numbers)))
    return np.array(labels)


def written(permutation: Permutation) -> str:
    """A permutation as its cycles, such as (0,3)(1,4); () for the identity."""
    left, cycles = set(range(len(permutation))), ""
    while left:
        cycle = [min(left)]
        while (following := permutation[cycle[-1]]) != cycle[0]:
            cycle.append(following)
        left -= set(cycle)
        cycles += f"({','.join(map(str, cycle))})" if len(cycle) > 1 else ""
    return cycles or "()"


@dataclass(frozen=True)
class Partition:
    """Cosets of one conjugate on one side: the generators, the label of each element, and their
    silhouette score.
    """

    generators: str
    side: Side
    labels: NDArray[np.int64]
    silhouette: float


@dataclass(frozen=True)
class Separation:
    """All partitions in cosets, the one that separates best first, and what chance does as well.

    random: the best silhouette of as many random partitions with the same sizes, drawn anew so many
    times, (draws,). p: share of draws that are as good as the best, the observed one counted among
    them.
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
    """How well rows (n!, width) cluster by the cosets of the generated subgroup or a conjugate, on
    either side.

    Silhouettes are of Euclidean distances in the full width: 1 for tight clusters far apart, 0 or
    less for none. The best of several partitions is compared with the best of as many random ones.
    ValueError unless the subgroup is neither trivial nor everything.
    """
    degree = len(generators[0])
    subgroup = generate(generators, degree)
    if not 1 < len(subgroup) < len(rows):
        raise ValueError(
            f"the generators make a subgroup of {len(subgroup)} of {len(rows)} elements: no "
            "clusters"
        )
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    tried: dict[bytes, Partition] = {}
    sides: tuple[Side, Side] = ("left", "right")
    for conjugate in conjugates(subgroup, degree):
        names = _generators(subgroup, conjugate, generators, degree)
        for side in sides:
            labels = cosets(conjugate, degree, side)
            tried.setdefault(
                labels.tobytes(), Partition(names, side, labels, silhouette(distances, labels))
            )
    ranked = sorted(tried.values(), key=lambda partition: -partition.silhouette)
    random, labels = np.random.default_rng(0), ranked[0].labels
    best = [
        max(silhouette(distances, random.permutation(labels)) for _ in ranked) for _ in range(draws)
    ]
    return Separation(tuple(ranked), np.array(best))


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
    conjugate: frozenset[Permutation],
    generators: Sequence[Permutation],
    degree: int,
) -> str:
    """Generators of a conjugate, conjugated like the subgroup itself."""
    g = next(
        g
        for g in elements(degree)
        if {product(product(g, h), inverse(g)) for h in subgroup} == conjugate
    )
    return " ".join(written(product(product(g, h), inverse(g))) for h in generators)
