"""The weights that a training keeps while it runs: they are in its checkpoints until the end, so
that a resumed training keeps the same ones.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers import weights
from trainers.weights import Evaluated, Owner, Snapshot


class Snapshots:
    """The snapshots of one training so far.

    at: the epochs (or steps) to keep, or "final" for the end alone. Raises WeightsError if those up
    to `last` would take more than weights.LARGEST_PATH.
    """

    def __init__(
        self, owner: Owner, at: Literal["final"] | Collection[int], last: int, model: nn.Module
    ) -> None:
        self.owner, self.model = owner, model
        points = () if at == "final" else at
        self.at = {point for point in points if not isinstance(point, str) and point <= last}
        self._kept: list[dict[str, Any]] = []
        weights.check_size(owner.cell, self._arrays(), len(self.at))

    def due(self, epoch: int) -> bool:
        """Whether the weights of this epoch are to be kept, and are not yet: the algorithmic
        trainer can repeat steps.
        """
        return epoch in self.at and epoch not in {kept["epoch"] for kept in self._kept}

    def add(self, epoch: int, result: Evaluated) -> None:
        """Keep the present weights and what the network answers with them."""
        values = {name: value.detach().cpu().clone() for name, value in self._state().items()}
        kept = {"epoch": epoch, "loss": result.loss, "wrong": result.wrong, "weights": values}
        self._kept.append(kept)

    def state(self) -> list[dict[str, Any]]:
        """What `load` restores, for a checkpoint."""
        return list(self._kept)

    def load(self, state: list[dict[str, Any]]) -> None:
        """Restore what `state` returned."""
        self._kept = list(state)

    def write(self, folder: Path, epoch: int, result: Evaluated) -> None:
        """Write the present weights as the final ones, and the snapshots if there are any."""
        if self._kept:
            weights.write_path(folder, self.owner, [_snapshot(kept) for kept in self._kept])
        weights.write_final(folder, self.owner, Snapshot(epoch, result, self._arrays()))

    def _state(self) -> dict[str, Tensor]:
        return self.model.state_dict()

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {name: _array(value) for name, value in self._state().items()}


def _snapshot(kept: dict[str, Any]) -> Snapshot:
    arrays = {name: _array(value) for name, value in kept["weights"].items()}
    return Snapshot(kept["epoch"], Evaluated(kept["loss"], kept["wrong"]), arrays)


def _array(value: Tensor) -> NDArray[Any]:
    return np.asarray(value.detach().cpu().contiguous().numpy())
