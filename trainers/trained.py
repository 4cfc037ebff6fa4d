"""A trained network as a measure finds it: data and weights, loaded and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from trainers import models, precision, weights
from trainers.config import Arithmetic, ConfigError, MeasureCell, Transformer
from trainers.data import arithmetic, splits
from trainers.data.splits import Data, Split
from trainers.measures.samples import Point, Samples
from trainers.measures.surface import Landscape
from trainers.models.transformer import OnPairs
from trainers.seeding import numpy_stream
from trainers.weights import Evaluated, Owner, Snapshot, WeightsError

RELATIVE, ABSOLUTE = 1e-4, 1e-7
"""How far the loss may lie from that of the training: float32 sums differ in their last bits, also
where a mean loss is a few of them.
"""


@dataclass(frozen=True)
class Trained:
    """The network of a trained cell, its data, and the weights that it has now.

    samples: those that the measure takes, as network inputs.
    """

    cell: MeasureCell
    device: torch.device
    data: Data
    model: nn.Module
    owner: Owner
    snapshot: Snapshot
    samples: Samples

    @property
    def folder(self) -> Path:
        """The weights of the trained cell's sweep."""
        return weights_folder(self.cell)

    def landscape(self) -> Landscape:
        """The loss around the weights."""
        return Landscape(self.model, self.samples, self.cell.trainer.bn)

    def base_loss(self) -> float:
        """The loss of the weights on the samples of the measure, infinite for NaN."""
        landscape = self.landscape()
        with landscape.recalibrated():
            loss = landscape.here().value
        return loss if math.isfinite(loss) else math.inf

    def test_samples(self) -> Samples | None:
        """The test set as network inputs; None if the data have none."""
        if not self.data.has_test:
            return None
        return _samples(self.data, self.data.test, self.cell.trainer.batch)

    def other_weights(self, cell: str) -> Snapshot:
        """The weights of another cell of the same sweep, at the same epoch, checked as those of the
        cell itself. The network keeps its own. Raises WeightsError if the two cells were trained on
        different samples.
        """
        owner, snapshot = weights.read(self.folder, cell, self.cell.trainer.weights)
        weights.check_same_data(owner, self.owner.cell, self.data.facts["data_hash"])
        kept = {name: value.clone() for name, value in self.model.state_dict().items()}
        weights.load_into(self.model, snapshot, cell)
        try:
            check_centre(self.model, self.data, self.cell, snapshot, cell)
        finally:
            self.model.load_state_dict(kept)
        return snapshot


def weights_folder(cell: MeasureCell) -> Path:
    """Where the weights of the trained cell lie."""
    return Path(cell.trainer.of_folder or "") / "weights"


def load(cell: MeasureCell) -> Trained:
    """The trained cell that `cell` measures.

    Raises NotTrainedError if its weights are not there, WeightsError if they are damaged, of
    another cell, data or network, or do not give the loss that they are said to have, and DataError
    for data that cannot be used.
    """
    settings = cell.trainer
    device = precision.device(cell.run.device)
    precision.set_numerics(False, cell.run.threads)
    owner, snapshot = weights.read(weights_folder(cell), settings.of, settings.weights)
    data = _data(cell, device)
    weights.check_data(owner, data.facts["data_hash"])
    with torch.random.fork_rng(devices=[]):
        model = _model(cell, data)
    weights.load_into(model, snapshot, settings.of)
    model = models.channels_last(model.to(device))
    check_centre(model, data, cell, snapshot, settings.of)
    samples = _samples(data, _subset(data.train, cell), settings.batch)
    return Trained(
        cell=cell,
        device=device,
        data=data,
        model=model,
        owner=owner,
        snapshot=snapshot,
        samples=samples,
    )


def _data(cell: MeasureCell, device: torch.device) -> Data:
    """The data of the trained cell; rows of an operation's table as points of its operands."""
    if not isinstance(cell.data, Arithmetic):
        return splits.load(cell.data, cell.seed, device)
    table = arithmetic.split(cell.data, cell.seed)
    wrong = table.train.answer_n != table.true_answer_n
    none = torch.empty(0)
    return Data(
        train=_pairs(table.train, wrong, device),
        test=_pairs(table.test, torch.zeros(len(table.test), dtype=torch.bool), device),
        mean=none,
        std=none,
        classes=table.elements,
        facts={"data_hash": table.content_hash},
        scaling=None,
        augment=False,
        has_test=len(table.test) > 0,
        random_classes=None,
    )


def _pairs(rows: arithmetic.Rows, is_changed: Tensor, device: torch.device) -> Split:
    operands = torch.stack([rows.left_n, rows.right_n], dim=1).float()[:, :, None, None]
    return Split(operands.to(device), rows.answer_n.to(device), is_changed.to(device))


def _model(cell: MeasureCell, data: Data) -> nn.Module:
    """The network of the trained cell, with weights of no meaning."""
    if isinstance(cell.model, Transformer):
        assert isinstance(cell.data, Arithmetic)
        sequence, vocabulary = cell.data.sequence.split(), cell.data.vocabulary
        return OnPairs(cell.model, sequence, data.classes, vocabulary)
    _, channels, size, _ = data.train.images.shape
    return models.build(cell.model, channels, size, data.classes)


def check_centre(
    model: nn.Module, data: Data, cell: MeasureCell, snapshot: Snapshot, trained: str
) -> None:
    """Raise WeightsError unless the network answers on the whole training set what the training
    wrote down: the loss within RELATIVE (and ABSOLUTE nats), the wrong answers exactly.
    """
    whole = _samples(data, data.train, cell.trainer.batch)
    centre, expected = Landscape(model, whole).here(), snapshot.result
    if not _agree(centre, expected):
        raise WeightsError(
            f"the weights of cell {trained} give a loss of {centre.loss:.8g} nats and "
            f"{centre.wrong} wrong answers on its training set, and its training ended with "
            f"{expected.loss:.8g} and {expected.wrong}: data, scaling or statistics differ; "
            "measure on the kind of device that trained it, or train it again"
        )


def _agree(centre: Point, expected: Evaluated) -> bool:
    difference = abs(centre.value - expected.loss)
    is_near = difference <= RELATIVE * abs(expected.loss) + ABSOLUTE
    return is_near and centre.wrong == expected.wrong


def _subset(train: Split, cell: MeasureCell) -> Split:
    """The whole training set, or a fixed subset of it, in its order.

    Raises `ConfigError` for a subset that is larger than the set.
    """
    count = cell.trainer.images
    if count is None or count == len(train):
        return train
    if count > len(train):
        raise ConfigError(
            f"trainer.images: found {count}, expected at most {len(train)}, the clean training "
            "samples, or null for all of them"
        )
    order = numpy_stream(cell.seed, "images").permutation(len(train))[:count]
    index = torch.from_numpy(order).sort().values.to(train.labels.device)
    return Split(train.images[index], train.labels[index], train.is_changed[index])


def _samples(data: Data, split: Split, batch: int) -> Samples:
    inputs: Tensor = data.scaled(split.images).contiguous(memory_format=torch.channels_last)
    return Samples(inputs, split.labels, batch)


def check_plane(network: Trained) -> None:
    """Raise ConfigError unless inputs have two dimensions and there are two classes."""
    shape = tuple(network.data.train.images.shape[1:])
    if shape != (2, 1, 1) or network.data.classes != 2:
        raise ConfigError(
            f"trainer.name: found boundary with data {network.cell.data.name}, expected points in "
            "the plane with two classes: swiss_roll, spirals, rings, or data with two features"
        )


def plane_points(network: Trained) -> list[tuple[float, float]]:
    """The samples of a measure as points of the unscaled plane."""
    scale = getattr(network.cell.data, "scale", 1.0)
    inputs = network.samples.inputs.flatten(1).double() * scale
    return [(x, y) for x, y in inputs.tolist()]


def input_grid(network: Trained, points: int, extent: float) -> Tensor:
    """Inputs (points^2, 2, 1, 1) of a grid over [-extent, extent]^2 of the unscaled plane, row by
    row from the lowest y.
    """
    scale = getattr(network.cell.data, "scale", 1.0)  # rings, tables and most own data have none
    places = torch.linspace(-extent, extent, points, dtype=torch.float64) / scale
    y, x = torch.meshgrid(places, places, indexing="ij")
    inputs = torch.stack([x.flatten(), y.flatten()], dim=1).float()
    return inputs[:, :, None, None].to(network.device)
