"""Progress measures of a training on modular addition, from the weights that it kept.

    redescent submit grok_progress_small
    redescent submit grok_progress_small_measures

A unit is a snapshot. Its first row has the losses and Gini coefficients, the following ones have
the frequencies 1 to p // 2. The key frequencies are those of the final weights, for all snapshots.
The mathematics is in trainers/measures/fourier.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from trainers import weights
from trainers.config import Arithmetic, ConfigError, Transformer, measure
from trainers.landscape import Measure, Row
from trainers.measures import fourier
from trainers.trained import Trained

SIGNS = {"x+y": 1, "x-y": -1}
"""The operations whose answers are waves in x + y or x - y."""


class Fourier(Measure):
    """Restricted and excluded loss, frequencies, and Gini coefficients of every snapshot.

    Raises ConfigError for a trained cell on another operation, and WeightsError if it kept no
    snapshots.
    """

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        settings, data = network.cell.trainer, network.cell.data
        assert isinstance(settings, measure.Progress)
        assert isinstance(network.cell.model, Transformer)
        if not isinstance(data, Arithmetic) or data.operation not in SIGNS:
            raise ConfigError(
                f"data.operation: found {getattr(data, 'operation', data.name)}, expected "
                f"{' or '.join(SIGNS)}: progress measures are of modular addition"
            )
        _, self.snapshots = weights.read_path(network.folder, settings.of)
        self.units = len(self.snapshots)
        self.p = data.modulus
        self.answers = fourier.results(self.p, SIGNS[data.operation])
        final = fourier.waves(self._table(), self.answers)
        self.keys = fourier.key_frequencies(fourier.power_shares(final, self.p), settings.key_share)

    @torch.inference_mode()
    def _table(self) -> Tensor:
        """Logits (p, p, v) of the present weights for the whole table."""
        network, x = self.network, torch.arange(self.p)
        pairs = torch.cartesian_prod(x, x)[:, :, None, None].to(network.device)
        batch = network.cell.trainer.batch
        logits = torch.cat([network.model(rows).cpu() for rows in torch.split(pairs, batch)])
        return logits.view(self.p, self.p, -1)

    def rows(self, unit: int) -> Iterator[Row]:
        """One row for the snapshot, then one for each frequency."""
        snapshot = self.snapshots[unit]
        weights.load_into(self.network.model, snapshot, self.network.cell.trainer.of)
        logits = self._table()
        coefficients = fourier.waves(logits, self.answers)
        restricted = fourier.only(coefficients, [0, *self.keys], self.answers)
        excluded = logits - fourier.only(coefficients, self.keys, self.answers)
        embedded, read_out = (fourier.component_norms(matrix) for matrix in self._matrices())
        yield {
            "snapshot_step": snapshot.epoch,
            "train_loss": self._loss(logits, "train"),
            "test_loss": self._loss(logits, "test"),
            "restricted_loss": self._loss(restricted, "all"),
            "excluded_loss": self._loss(excluded, "train"),
            "gini_embedding": fourier.gini(embedded),
            "gini_output": fourier.gini(read_out),
        }
        shares = fourier.power_shares(coefficients, self.p).tolist()
        for number, share in enumerate(shares, start=1):
            is_key = int(number in self.keys)
            yield {"step": number, "frequency": number, "power_share": share, "is_key": is_key}

    def _loss(self, logits: Tensor, part: str) -> float:
        """Mean cross-entropy on the training rows, the test rows, or all rows of the table."""
        if part == "all":
            x = torch.arange(self.p)
            left, right = torch.cartesian_prod(x, x).unbind(1)
            return fourier.loss(logits, left, right, self.answers.flatten())
        split = self.network.data.train if part == "train" else self.network.data.test
        left, right = split.images.flatten(1).long().cpu().unbind(1)
        return fourier.loss(logits, left, right, split.labels.cpu())

    def _matrices(self) -> tuple[Tensor, Tensor]:
        """The embeddings of the residues (p, d), and the map from the last hidden units to their
        logits (p, hidden): W_E and W_L of Nanda et al.
        """
        model = self.network.model
        embedding = model.get_parameter("embedding.weight")[: self.p]
        output = model.get_parameter("output.weight")[: self.p]
        last = self.network.cell.model
        assert isinstance(last, Transformer)
        hidden = model.get_parameter(f"blocks.{last.depth - 1}.feedforward_out.weight")
        return embedding.detach().cpu(), (output.double() @ hidden.double()).detach().cpu()
