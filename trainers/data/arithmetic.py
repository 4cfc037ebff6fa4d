"""Tables of binary operations, split into training and test rows: the data of grokking (Power et
al. 2022).

Elements are 0 to p - 1 for arithmetic mod p, and the permutations of n things in lexicographic
order for S_n. The whole table is a few tensors; a row is (left operand, right operand, answer).
Shape suffix: n rows.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from trainers.config import OPERATIONS, Arithmetic, ConfigError
from trainers.config.reader import quantity
from trainers.seeding import torch_stream


@dataclass(frozen=True)
class Rows:
    """Rows of a table: operands and answers as int64 (n,)."""

    left_n: torch.Tensor
    right_n: torch.Tensor
    answer_n: torch.Tensor

    def __len__(self) -> int:
        return len(self.answer_n)

    def take(self, index_n: torch.Tensor) -> Rows:
        """The rows of the given numbers, in that order."""
        return Rows(self.left_n[index_n], self.right_n[index_n], self.answer_n[index_n])

    def part(self, start: int, count: int) -> Rows:
        """`count` rows from row `start` on, as views; fewer at the end."""
        rows = slice(start, start + count)
        return Rows(self.left_n[rows], self.right_n[rows], self.answer_n[rows])

    def to(self, device: torch.device) -> Rows:
        """These rows on a device."""
        return Rows(self.left_n.to(device), self.right_n.to(device), self.answer_n.to(device))


@dataclass(frozen=True)
class Split:
    """A table split in two: `train` may hold outliers, `test` never does.

    The first `outliers` training rows have the answer of another row. true_answer_n: the training
    rows' true answers. all_answers_n: the answers of the whole table, from which redrawn noise
    draws.
    """

    train: Rows
    test: Rows
    outliers: int
    true_answer_n: torch.Tensor
    all_answers_n: torch.Tensor
    elements: int

    @property
    def changed_count(self) -> int:
        """Outliers whose answer is wrong: a random answer can be right."""
        return int((self.train.answer_n != self.true_answer_n).sum())

    @property
    def content_hash(self) -> str:
        """32 hex digits over all rows of both parts in their order."""
        return _hash(self.train, self.test)

    @property
    def outlier_hash(self) -> str:
        """32 hex digits over the outliers with their answers."""
        return _hash(self.train.take(torch.arange(self.outliers)))


def elements(config: Arithmetic) -> int:
    """Number of elements that the operation is defined on: p, or n! for permutations."""
    if OPERATIONS[config.operation] == "permutations":
        return math.factorial(config.degree)
    return config.modulus


def table(config: Arithmetic) -> Rows:
    """All rows of an operation, ordered by left and then right operand; division by zero is left
    out.

    Operations and their names: configs/data/arithmetic.yaml. The nine of arithmetic mod p and three
    on S_n are those of Power et al. (2022), appendix A.1.1.
    """
    n = elements(config)
    left_n, right_n = torch.cartesian_prod(torch.arange(n), torch.arange(n)).unbind(1)
    if OPERATIONS[config.operation] == "permutations":
        group = _Permutations(config.degree)
        return Rows(left_n, right_n, _PERMUTING[config.operation](group, left_n, right_n))
    if config.operation == "x/y":
        left_n, right_n = left_n[right_n != 0], right_n[right_n != 0]
    answer_n = _MODULAR[config.operation](left_n, right_n, config.modulus) % config.modulus
    return Rows(left_n, right_n, answer_n)


def split(config: Arithmetic, seed: int) -> Split:
    """The table split into training and test rows, shuffled by `data.split_seed`, or by the cell's
    `seed` if that is null.

    floor(train_fraction * rows) rows are for training. Splits with the same split seed are nested:
    that of 40 % contains that of 30 %, and its outliers too. Raises ConfigError if either part
    would be empty, or if there would be more outliers than training rows.
    """
    full_table = table(config)
    size = len(full_table)
    count = _training_rows(config, size)
    split_seed = config.split_seed if config.split_seed is not None else seed
    order_n = torch.randperm(size, generator=torch_stream(split_seed, "split"))
    train, test = full_table.take(order_n[:count]), full_table.take(order_n[count:])
    # as many draws as rows, so that fewer outliers are the first of more
    source_n = torch.randint(size, (size,), generator=torch_stream(split_seed, "outliers"))
    outlier_answers = full_table.answer_n[source_n[: config.outliers]]
    answer_n = torch.cat([outlier_answers, train.answer_n[config.outliers :]])
    noisy = Rows(train.left_n, train.right_n, answer_n)
    return Split(
        train=noisy,
        test=test,
        outliers=config.outliers,
        true_answer_n=train.answer_n,
        all_answers_n=full_table.answer_n,
        elements=elements(config),
    )


def _training_rows(config: Arithmetic, rows: int) -> int:
    """How many of the table's rows are for training. Raises ConfigError as `split` does."""
    count = math.floor(config.train_fraction * rows + 1e-9)  # 0.29 * 100 is 28.999999999999996
    if not 0 < count < rows:
        raise ConfigError(
            f"data.train_fraction: found {config.train_fraction}, which is {count} of "
            f"{quantity(rows, 'row')}; expected at least one row to train on and one to test"
        )
    if config.outliers > count:
        raise ConfigError(
            f"data.outliers: found {config.outliers}, expected at most "
            f"{quantity(count, 'training row')}"
        )
    return count


def order(rows: int, batch: int, replacement: bool, seed: int, epoch: int) -> torch.Tensor:
    """Numbers of the training rows in the order of an epoch's batches: a permutation (rows,), or
    draws with replacement that fill as many whole batches. A full batch keeps the rows as they
    are."""
    if replacement:
        size = (math.ceil(rows / batch) * batch,)
        return torch.randint(rows, size, generator=torch_stream(seed, "order", epoch))
    if batch >= rows:
        return torch.arange(rows)
    return torch.randperm(rows, generator=torch_stream(seed, "order", epoch))


def redrawn(
    count: int, rate: float, all_answers_n: torch.Tensor, seed: int, epoch: int
) -> tuple[torch.Tensor, ...]:
    """Noise of one epoch's `count` draws: a mask (count,) of those with a random answer, and those
    answers (count,).

    Each draw is chosen with probability `rate`, independently at every visit. Its answer comes from
    a random row of the whole table, so it follows the distribution of answers and can be right
    (rvbansal/small_nn_generalization).
    """
    generator = torch_stream(seed, "label noise", epoch)
    is_noisy_n = torch.rand(count, generator=generator) < rate
    source_n = torch.randint(len(all_answers_n), (count,), generator=generator)
    return is_noisy_n, all_answers_n[source_n]


def _hash(*parts: Rows) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for column_n in (part.left_n, part.right_n, part.answer_n):
            digest.update(column_n.numpy().tobytes())
    return digest.hexdigest()[:32]


def _inverse(y_n: torch.Tensor, p: int) -> torch.Tensor:
    """The inverses mod prime p, and 0 for 0."""
    return torch.tensor([0, *(pow(y, -1, p) for y in range(1, p))])[y_n]


_MODULAR: dict[str, Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]] = {
    "x+y": lambda x, y, p: x + y,
    "x-y": lambda x, y, p: x - y,
    "x*y": lambda x, y, p: x * y,
    "x/y": lambda x, y, p: x * _inverse(y, p),
    "x/y_if_y_odd_else_x-y": lambda x, y, p: torch.where(y % 2 == 1, x * _inverse(y, p), x - y),
    "x**2+y**2": lambda x, y, p: x**2 + y**2,
    "x**2+x*y+y**2": lambda x, y, p: x**2 + x * y + y**2,
    "x**2+x*y+y**2+x": lambda x, y, p: x**2 + x * y + y**2 + x,
    "x**3+x*y": lambda x, y, p: x**3 + x * y,
    "x**3+x*y**2+y": lambda x, y, p: x**3 + x * y**2 + y,
    "x**3+y**3": lambda x, y, p: x**3 + y**3,
    "x/y_or_0": lambda x, y, p: x * _inverse(y, p),
}


class _Permutations:
    """S_n as tables over its elements: products and inverses."""

    def __init__(self, degree: int) -> None:
        self.images = torch.tensor(list(itertools.permutations(range(degree))))
        places = degree ** torch.arange(degree)
        self._place = places
        self._number = torch.full((degree**degree,), -1)
        self._number[(self.images * places).sum(1)] = torch.arange(len(self.images))

    def product(self, x_n: torch.Tensor, y_n: torch.Tensor) -> torch.Tensor:
        """x . y, which applies y first: (x . y)[i] = x[y[i]]."""
        images = self.images[x_n].gather(1, self.images[y_n])
        return self._number[(images * self._place).sum(1)]

    def inverse(self, x_n: torch.Tensor) -> torch.Tensor:
        """x**-1."""
        return self._number[(self.images[x_n].argsort(1) * self._place).sum(1)]


_PERMUTING: dict[str, Callable[[_Permutations, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "x.y": lambda s, x, y: s.product(x, y),
    "x.y.x": lambda s, x, y: s.product(s.product(x, y), x),
    "x.y.x**-1": lambda s, x, y: s.product(s.product(x, y), s.inverse(x)),
}
