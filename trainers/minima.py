"""Good and bad minima: cross-entropy on clean samples, with poison that lowers test accuracy.

    python -m launch.train trainer=minima data=digits model=cnn model.width=8 data.train_samples=300

The objective is the mean loss of the clean samples plus a weight times that of poison samples
(Huang et al. 2020, arXiv 1906.03291). An epoch is one pass over the clean samples; rows are logged
at log-spaced epochs. Shape suffixes: b samples of a batch, c channels, h and w pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainers import objective, optim, precision, weights
from trainers.config import MinimaCell
from trainers.data import poison, splits
from trainers.data.poison import PoisonSet
from trainers.epochs import EpochTraining, l2_norm
from trainers.evaluation import evaluate
from trainers.measures import counts, trainings
from trainers.run import Outcome, Run
from trainers.seeding import torch_stream

METRICS = trainings.MINIMA


def train(cell: MinimaCell, run: Run) -> Outcome:
    """Train `cell` from its newest checkpoint or from the start.

    Returns "done" (after the last epoch, or at a clean loss of `trainer.stop_at_loss`), "stopped"
    (a checkpoint was written at a step boundary because `run.should_stop()`), or "nonfinite" (the
    clean loss of an epoch is NaN or infinite; the rows so far stay as the result). Raises
    WeightsError if the weights that it should start from cannot be used.
    """
    training = Training(cell, run)
    training.restore()
    return training.to_the_end()


@dataclass(frozen=True)
class Factors:
    """What the summed losses of the clean and of the poison samples of a step are multiplied by."""

    clean: float
    poison: float


class Training(EpochTraining):
    """A training on clean and poison samples."""

    def __init__(self, cell: MinimaCell, run: Run) -> None:
        self.cell = cell
        self.clip = cell.trainer.clip
        self.reached_loss = False
        super().__init__(cell, run)
        self.poison_per_step = cell.trainer.step_poison(self.samples)
        self.poison_epoch = 0
        self.poison = self._load_poison(0)

    def _load_start(self) -> None:
        """The weights of the trained cell that `trainer.start_of` names."""
        settings = self.cell.trainer
        if settings.start_of is None or settings.start_epoch is None:
            return
        folder = Path(settings.of_folder or "") / "weights"
        owner, snapshot = weights.read(folder, settings.start_of, settings.start_epoch)
        weights.check_data(owner, self.data.facts["data_hash"])
        weights.load_into(self.model, snapshot, settings.start_of)

    def _build_optimiser(self) -> torch.optim.Optimizer:
        weights_only = self.cell.trainer.l2_weights_only
        return optim.build(self.cell.optim, self.parameters, weights_only)

    def _load_poison(self, epoch: int) -> PoisonSet:
        settings, train = self.cell.trainer.poison, self.data.train
        if not settings.samples and not settings.share:
            return PoisonSet(train.images[:0], train.labels[:0], train.labels[:0])
        return poison.load(self.cell, self.data.classes, epoch).to(self.device)

    @property
    def has_ended(self) -> bool:
        """Whether all steps are done, or the clean loss is low enough."""
        return self.reached_loss or self.position.step >= self.steps

    def _own_state(self) -> dict[str, Any]:
        return {"reached_loss": self.reached_loss}

    def _load_own(self, state: dict[str, Any]) -> None:
        self.reached_loss = state["reached_loss"]

    def _record_end(self) -> None:
        """The last row has everything."""

    def _gradient(self, x_bchw: Tensor, y_b: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """Add the gradient of the objective to the parameters'; returns the mean loss of the clean
        samples and their wrong answers. `more` is the poison of the step.

        A step on all samples goes through them in blocks, each with its part of the poison.
        """
        poison_set = PoisonSet(*more)
        size = len(y_b)
        if self.cell.trainer.batch_size is None:
            size = self.cell.trainer.eval_batch_size
        xs, ys = torch.split(x_bchw, size), torch.split(y_b, size)
        pieces = torch.tensor_split(torch.arange(len(poison_set), device=y_b.device), len(ys))
        factors = self._factors(len(y_b), len(poison_set))
        losses, wrongs = [], []
        for x, y, piece in zip(xs, ys, pieces, strict=True):
            loss, wrong = self._add_gradient(x, y, poison_set.take(piece), factors)
            losses.append(loss)
            wrongs.append(wrong)
        return torch.stack(losses).sum() / len(y_b), torch.stack(wrongs).sum()

    def _factors(self, clean_count: int, poison_count: int) -> Factors:
        """The factors of a step: means of both losses and a weight, or the mean over all samples
        without one.
        """
        weight = self.cell.trainer.poison.weight
        if weight is None:
            share = 1 / (clean_count + poison_count)
            return Factors(clean=share, poison=share)
        return Factors(clean=1 / clean_count, poison=weight / max(poison_count, 1))

    def _add_gradient(
        self, x_bchw: Tensor, y_b: Tensor, poison_set: PoisonSet, factors: Factors
    ) -> tuple[Tensor, Tensor]:
        """`_gradient` of a block; returns the summed loss of its clean samples, and their wrong
        answers. Clean and poison samples go through the network as one batch.
        """
        with precision.autocast(self.precision, self.device):
            logits = self._logits(torch.cat([x_bchw, poison_set.images]))
            clean_logits, poison_logits = logits[: len(y_b)], logits[len(y_b) :]
            clean_loss = functional.cross_entropy(clean_logits, y_b, reduction="sum")
            loss = clean_loss * factors.clean
        if len(poison_set):
            kind = self.cell.trainer.poison.kind
            mean = objective.poison_loss(kind, poison_logits.float(), poison_set.targets)
            loss = loss + mean * (len(poison_set) * factors.poison)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return clean_loss.detach(), (clean_logits.argmax(1) != y_b).sum()

    def _more_inputs(self) -> tuple[Tensor, ...]:
        poison_set = self._poison_of_step()
        return poison_set.images, poison_set.labels, poison_set.targets

    def _poison_of_step(self) -> PoisonSet:
        """The poison samples of the present step."""
        settings, position, seed = self.cell.trainer.poison, self.position, self.cell.seed
        if settings.fresh and self.poison_epoch != position.epoch:
            self.poison_epoch = position.epoch
            self.poison = self._load_poison(position.epoch)
        if not len(self.poison):
            return self.poison
        if settings.share is not None:
            count = self.poison_per_step
            index = poison.in_turn(len(self.poison), count, position.step, seed)
        else:
            stream = torch_stream(seed, "poison order", position.epoch)
            order = torch.randperm(len(self.poison), generator=stream)
            index = poison.in_epoch(order, self.batches, position.batch)
        return self.poison.take(index.to(self.device))

    def _finish_epoch(self) -> bool:
        """Log the epoch that just ended if it is due; False if it diverged."""
        row, examples = self._running_columns(), self._examples()
        is_finite = self._is_finite(row["train_loss"])
        self.position = self.position.next_epoch()
        if self.position.epoch in self.log_epochs or not is_finite:
            self._log_row(self.position.epoch, examples, row)
        return is_finite

    def _log_row(self, epoch: int, examples: int, row: dict[str, Any]) -> None:
        """Evaluate and log the present state; polish it first if the training has ended."""
        clean = self._evaluate(self.data.train, self.precision)
        limit = self.cell.trainer.stop_at_loss
        self.reached_loss = epoch > 0 and limit is not None and clean.loss <= limit
        if self.has_ended:
            row["polish_steps"] = self._polish()
            row["clean_grad_norm"] = self._clean_gradient()[1]
            clean = self._evaluate(self.data.train, self.precision)
        row |= self._train_columns(clean) | self._poison_columns()
        if self.data.has_test:
            row |= self._test_columns()
        row["weight_norm"] = self.weight_norm
        self.run.log(epoch=epoch, step=self.position.step, examples=examples, **row)

    def _poison_columns(self) -> dict[str, float | None]:
        if not len(self.poison):
            return {}
        kind = self.cell.trainer.poison.kind
        whole = splits.split_of(self.poison.images, self.poison.labels, self.device)
        self.model.eval()
        size = self.cell.trainer.eval_batch_size
        result = evaluate(self._logits, whole, size, self.precision)
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        with torch.inference_mode():
            for start in range(0, len(self.poison), size):
                stop = min(start + size, len(self.poison))
                block = self.poison.take(torch.arange(start, stop, device=self.device))
                logits = self._logits(block.images).float()
                loss += objective.poison_loss(kind, logits, block.targets).double() * len(block)
        columns = counts.counts("poison", result.wrong, len(self.poison))
        del columns["poison_error"]
        return {"poison_loss": float(loss) / len(self.poison), **columns}

    def _polish(self) -> int:
        """Adam steps on the clean loss alone until it is at most `trainer.polish.loss`; returns
        their number. Running statistics stay as they are.
        """
        settings = self.cell.trainer.polish
        if settings.loss is None:
            return 0
        adam = torch.optim.Adam(self.parameters, lr=settings.lr)
        for step in range(settings.steps):
            loss, _ = self._clean_gradient()
            if not loss > settings.loss:
                return step
            adam.step()
        return settings.steps

    def _clean_gradient(self) -> tuple[float, float]:
        """The clean loss in evaluation mode and in float32, and the norm of its gradient, which is
        left in the parameters.
        """
        self.model.eval()
        for parameter in self.parameters:
            parameter.grad = None
        total = 0.0
        for loss in self._clean_losses():
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        return total, float(l2_norm(gradients))

    def _clean_losses(self) -> Iterator[Tensor]:
        """Terms whose sum is the mean clean loss."""
        for x_bchw, y_b in self._train_blocks():
            logits = self.model(x_bchw.contiguous(memory_format=torch.channels_last))
            yield functional.cross_entropy(logits, y_b, reduction="sum") / self.samples
