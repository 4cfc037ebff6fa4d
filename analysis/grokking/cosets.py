"""The subgroups of S_n, their cosets, and how well these cluster.

Groups are sympy's. Elements of S_n are numbered in lexicographic order, as in the operation tables:
0 is the identity. Products here apply the right factor first, (x . y)[i] = x[y[i]], as in the
tables; sympy's `*` applies the left one first.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sympy.combinatorics import Permutation, PermutationGroup
from sympy.combinatorics.named_groups import SymmetricGroup

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
Side = Literal["left", "right"]
# generators of the subgroup whose cosets Power et al. (2022) see in S5
PUBLISHED = "(0,3)(1,4) (1,2)(3,4)"


@dataclass(frozen=True)
class Subgroup:
    """A subgroup of S_n: its generators, the numbers of its elements, its conjugacy class.

    Subgroups with the same `conjugacy_class`, counted from 0 by growing order, are conjugate.
    """

    generators: tuple[Permutation, ...]
    numbers: frozenset[int]
    conjugacy_class: int

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.numbers)

    @property
    def name(self) -> str:
        """Its generators, such as "(0,3)(1,4) (1,2)(3,4)"."""
        return " ".join(cycle_notation(generator) for generator in self.generators)

    @property
    def fixed(self) -> list[int]:
        """The points that no element moves."""
        fixed = set(range(self.generators[0].size))
        for generator in self.generators:
            fixed -= set(generator.support())
        return sorted(fixed)


@dataclass(frozen=True)
class Partition:
    """The elements in the cosets of a subgroup on one side, and how well these cluster.

    labels: (n!,), the coset of each element. silhouette: its mean over the elements. score: by how
    many standard deviations that is above the silhouettes of cosets as large with permuted
    elements. p: share of permutations in which any of the partitions scores as high, the observed
    one counted among them.
    """

    subgroup: Subgroup
    side: Side
    labels: Numbers
    silhouette: float
    score: float
    p: float


def read(text: str, degree: int) -> list[Permutation]:
    """Permutations from products of cycles, such as the two of "(0,3)(1,4) (1,2)(3,4)".

    Raises ValueError for other texts.
    """
    return [_read_product(word, degree) for word in text.split()]


def _read_product(word: str, degree: int) -> Permutation:
    """One permutation of `degree` points from a product of cycles."""
    if not re.fullmatch(r"(\(\d+(,\d+)*\))+", word):
        raise ValueError(f"generator {word!r}: expected cycles such as (0,3)(1,4), without spaces")
    permutation = Permutation(size=degree)
    for cycle in re.findall(r"\(([\d,]+)\)", word):
        points = [int(point) for point in cycle.split(",")]
        if max(points) >= degree or len(set(points)) < len(points):
            raise ValueError(
                f"generator {word!r}: expected distinct points out of 0 to {degree - 1} in a cycle"
            )
        permutation = Permutation([points], size=degree) * permutation
    return permutation


def cycle_notation(permutation: Permutation) -> str:
    """A permutation as its cycles, such as (0,3)(1,4); () for the identity."""
    cycles = [f"({','.join(map(str, cycle))})" for cycle in permutation.cyclic_form]
    return "".join(cycles) or "()"


def generate(generators: Sequence[Permutation]) -> frozenset[int]:
    """The numbers of the elements of the subgroup that the generators make."""
    return frozenset(element.rank() for element in PermutationGroup(*generators).elements)


@functools.cache
def subgroups(degree: int) -> tuple[Subgroup, ...]:
    """All subgroups of S_n except for the trivial one and S_n, in growing order.

    Two elements generate each of them while n is at most 5 (McIver & Neumann 1987), and up to
    conjugacy the first of the two can be any element of its class.
    """
    group = SymmetricGroup(degree)
    elements = sorted(group.elements, key=Permutation.rank)
    pairs: dict[frozenset[int], tuple[Permutation, Permutation]] = {}
    for conjugates in group.conjugacy_classes():
        first = min(conjugates, key=Permutation.rank)
        for second in elements:
            pairs.setdefault(generate([first, second]), (first, second))
    by_numbers: dict[frozenset[int], Subgroup] = {}
    class_number = 0
    for numbers, pair in sorted(pairs.items(), key=lambda item: len(item[0])):
        if numbers in by_numbers or not 1 < len(numbers) < len(elements):
            continue
        for subgroup in _conjugates(numbers, pair, elements, class_number):
            by_numbers.setdefault(subgroup.numbers, subgroup)
        class_number += 1
    return tuple(by_numbers.values())


def _conjugates(
    numbers: frozenset[int],
    pair: tuple[Permutation, ...],
    elements: Sequence[Permutation],
    class_number: int,
) -> list[Subgroup]:
    """g^-1 H g for every g, with the generators conjugated like the subgroup H; each once or more
    often.
    """
    generators = tuple(generator for generator in dict.fromkeys(pair) if generator.order() > 1)
    conjugates = []
    for g in elements:
        conjugate_numbers = frozenset((elements[number] ^ g).rank() for number in numbers)
        conjugate_generators = tuple(generator ^ g for generator in generators)
        conjugates.append(Subgroup(conjugate_generators, conjugate_numbers, class_number))
    return conjugates


def product_table(degree: int) -> Numbers:
    """The number of x . y for the numbers x and y, (n!, n!)."""
    elements = np.array(list(itertools.permutations(range(degree))))
    place = degree ** np.arange(degree)[::-1]
    codes = elements @ place  # grow with the number
    return np.searchsorted(codes, elements[:, elements] @ place)


def cosets(subgroup: frozenset[int], table: Numbers, side: Side) -> Numbers:
    """The coset of each element, (n!,): g H for "left", H g for "right", numbered as they come."""
    members = sorted(subgroup)
    least = table[:, members].min(axis=1) if side == "left" else table[members].min(axis=0)
    return np.unique(least, return_inverse=True)[1]


def separation(rows: Array, degree: int, draws: int = 200) -> list[Partition]:
    """How well rows (n!, width) cluster by the left or right cosets of each subgroup, best first.

    Silhouettes (Rousseeuw 1987) are of Euclidean distances in the full width: 1 for tight clusters
    far apart, 0 or less for none. A partition is compared with `draws` permutations of the elements
    among the rows; p corrects for the number of partitions by the largest score of any (Westfall &
    Young 1993). Raises ValueError if S_n has no subgroup in between.
    """
    different = _partitions(degree)
    if not different:
        raise ValueError(f"S{degree} has no subgroup between the trivial one and itself")
    labels = np.array(list(different.values()))
    orders = np.array([subgroup.order for subgroup, _ in different])
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    clusters = Clusters(labels)
    observed = clusters.silhouettes(distances)
    random = np.random.default_rng(0)
    chance = np.empty((draws, len(labels)))
    for draw in range(draws):
        order = random.permutation(len(rows))
        chance[draw] = clusters.silhouettes(distances[np.ix_(order, order)])
    mean, deviation = _by_order(chance, orders)
    highest = ((chance - mean) / deviation).max(axis=1)
    scores = (observed - mean) / deviation
    p = (1 + (highest[:, None] >= scores).sum(axis=0)) / (1 + draws)
    partitions = []
    for i, (subgroup, side) in enumerate(different):
        values = float(observed[i]), float(scores[i]), float(p[i])
        partitions.append(Partition(subgroup, side, labels[i], *values))
    return sorted(partitions, key=lambda partition: -partition.score)


def _partitions(degree: int) -> dict[tuple[Subgroup, Side], Numbers]:
    """The labels of the different partitions in left or right cosets.

    Those of a normal subgroup are the same on both sides and count once, as left ones.
    """
    table = product_table(degree)
    labels: dict[bytes, tuple[Subgroup, Side, Numbers]] = {}
    sides: tuple[Side, Side] = ("left", "right")
    for subgroup, side in itertools.product(subgroups(degree), sides):
        partition = cosets(subgroup.numbers, table, side)
        labels.setdefault(partition.tobytes(), (subgroup, side, partition))
    return {(subgroup, side): partition for subgroup, side, partition in labels.values()}


def _by_order(chance: Array, orders: Numbers) -> tuple[Array, Array]:
    """Mean and standard deviation (partitions,) of `chance` (draws, partitions), over all draws and
    all partitions in cosets of the same size, whose silhouettes by chance are distributed alike.
    """
    mean, deviation = np.empty(len(orders)), np.empty(len(orders))
    for order in np.unique(orders):
        alike = orders == order
        mean[alike] = chance[:, alike].mean()
        deviation[alike] = chance[:, alike].std()
    return mean, deviation


class Clusters:
    """Several partitions of the same points, for the silhouettes of all of them at once.

    labels: (partitions, points), clusters counted from 0, each of two points or more.
    """

    def __init__(self, labels: Numbers) -> None:
        counts = labels.max(axis=1) + 1
        self.starts = np.cumsum([0, *counts[:-1]])
        self.columns = (labels + self.starts[:, None]).T  # (points, partitions): own cluster
        points = np.arange(labels.shape[1])
        self.member = np.zeros((len(points), counts.sum()), np.float32)
        self.member[points[:, None], self.columns] = 1
        self.sizes = self.member.sum(axis=0)

    def silhouettes(self, distances: Array) -> Array:
        """The mean silhouette (partitions,) from all distances (points, points).

        (b - a) / max(a, b) of each point: a, its mean distance to the rest of its cluster; b, to
        the nearest other cluster.
        """
        sums = distances.astype(np.float32) @ self.member
        to_own_cluster = np.take_along_axis(sums, self.columns, axis=1)
        inside = to_own_cluster / (self.sizes[self.columns] - 1)
        means = sums / self.sizes
        np.put_along_axis(means, self.columns, np.float32(np.inf), axis=1)
        outside = np.minimum.reduceat(means, self.starts, axis=1)
        silhouettes = (outside - inside) / np.maximum(inside, outside)
        return np.asarray(silhouettes.mean(axis=0), np.float64)
