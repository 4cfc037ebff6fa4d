"""Grokking: train a transformer on the table of a binary operation.

    python -m launch.train trainer=algorithmic data.operation=x-y data.train_fraction=0.4

The whole table is a few tensors on the training device; a batch is an index into them. All
randomness is a function of (seed, purpose, epoch), except for dropout and noise on weights and
updates, whose generator is in the checkpoint. Rows are logged at log-spaced steps. Shape suffixes:
b rows of a batch, n rows of a split.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from trainers import optim, precision
from trainers.config import AlgorithmicCell, entry
from trainers.cuda_graph import RecordedGradient, can_record
from trainers.data import arithmetic
from trainers.data.arithmetic import Rows
from trainers.measures import norms, sharpness, thresholds, trainings
from trainers.measures.crossing import CrossingSearch
from trainers.models import check_module, linear
from trainers.models.transformer import Transformer
from trainers.run import Outcome, Run, log_spaced
from trainers.seeding import generator_states, restore_generators, stream_seed
from trainers.snapshots import Snapshots
from trainers.weights import Evaluated, Owner

log = logging.getLogger(__name__)


METRICS = trainings.ALGORITHMIC


def train(cell: AlgorithmicCell, run: Run) -> Outcome:
    """Train `cell` from its newest checkpoint or from the start.

    Returns "done" (all steps, or the accuracy of `trainer.stop_at`, are reached), "stopped" (a
    checkpoint was written at a step boundary because `run.should_stop()`), or "nonfinite" (the
    training loss of a row is NaN or infinite; the rows so far stay as the result).
    """
    training = Training(cell, run)
    training.restore()
    return training.to_the_end()


class Training:
    """The state of one training and the loop over its steps."""

    def __init__(self, cell: AlgorithmicCell, run: Run) -> None:
        self.cell, self.run, self.settings = cell, run, cell.trainer
        self.device = precision.device(cell.run.device)
        precision.set_numerics(cell.trainer.deterministic, cell.run.threads)
        precision.warn_if_slow(self.settings.precision, self.device)
        self._load_data()
        self._build_model()
        self.log_steps = log_spaced(self.settings.steps, self.settings.evals_per_decade)
        self.search = CrossingSearch(self.settings.exact_steps)
        self.snapshots = self._snapshots()
        self.step = 0
        self.logged = 0
        """The last logged step."""
        self.seconds = 0.0
        """Seconds of training since then."""

    def _load_data(self) -> None:
        config, settings = self.cell.data, self.settings
        data = entry(config)(config, self.cell.seed)
        self.data_hash, self.elements = data.content_hash, data.elements
        self.outliers = data.outliers
        self.rows: dict[str, Rows] = {
            "train": data.train.to(self.device),
            "test": data.test.to(self.device),
        }
        self.all_answers_n = data.all_answers_n
        self.batch = min(settings.batch_size or len(data.train), len(data.train))
        if settings.batch_size and settings.at_most_half:
            self.batch = min(self.batch, math.ceil(len(data.train) / 2))
        self.batches = math.ceil(len(data.train) / self.batch)
        self.order_epoch = -1
        self.run.add_facts(
            noise_rate=data.changed_count / len(data.train),
            noise_chosen=data.outliers,
            noise_mask_hash=data.outlier_hash,
            data_hash=data.content_hash,
            precision=settings.precision,
            gpu=precision.gpu_name(self.device),
        )

    def _build_model(self) -> None:
        cell = self.cell
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(cell.seed, "init"))
            sequence = cell.data.sequence.split()
            build = entry(cell.model)
            model: Transformer = build(cell.model, sequence, self.elements, cell.data.vocabulary)
            check_module(cell.model, model)
        dtype = torch.float64 if self.settings.precision == "float64" else torch.float32
        self.model = model.to(self.device, dtype)
        self._multiply_by(linear.fastest_here() if self.device.type == "cpu" else None)
        self.whole_batch = torch.compile(self.model) if cell.run.compile else self.model
        self.parameters: list[torch.Tensor] = list(self.model.parameters())
        self.optimiser = optim.build(cell.optim, self.parameters)
        parts = (cell.model, self.model), (cell.optim, self.optimiser), (cell.trainer, self)
        self.recorded = RecordedGradient(self.model, can_record(self.device, *parts))
        self.loss_type = getattr(torch, self.settings.loss_precision)
        torch.manual_seed(stream_seed(cell.seed, "dropout"))
        self.run.add_facts(parameters=sum(p.numel() for p in self.parameters))

    def _multiply_by(self, library: linear.Library | None) -> None:
        """Choose the library for matrix products on a CPU."""
        self.matrix_library = library
        if library is not None:
            linear.use(library, self.model)
        self.run.add_facts(matrix_library=library)

    def _snapshots(self) -> Snapshots | None:
        at = self.settings.weights_at
        if at is None:
            return None
        steps = self.log_steps if at == "log" else at
        owner = Owner(self.run.cell, self.data_hash, self.run.facts.get("code"))
        return Snapshots(owner, steps, self.settings.steps, self.model)

    def restore(self) -> None:
        """Load the newest checkpoint; without one, log step 0."""
        state = self.run.restore(expect={"data_hash": self.data_hash})
        if state is None:
            self._compare(logs=True)
            self._keep_snapshot()
            return
        if self.snapshots is not None:
            self.snapshots.load(state["snapshots"])
        self._keep_library(state.get("matrix_library", linear.BEFORE))
        self._load(state)
        self.search.rewind_state = state["snapshot"]

    def _keep_library(self, began: linear.Library | None) -> None:
        """Continue with the library of the checkpoint, so that results stay bit-identical."""
        if began == self.matrix_library or self.matrix_library is None:
            return
        if began is not None and linear.is_available(began):
            self._multiply_by(began)
            return
        log.warning(
            "cell %s: the checkpoint's matrices were multiplied by %s, and here only %s can; the "
            "numbers from here on differ from those of an undisturbed run by rounding",
            self.run.cell,
            began or "a GPU",
            self.matrix_library,
        )

    def state(self) -> dict[str, Any]:
        """All state that the next step depends on."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            **self.search.state(),
            "seconds": self.seconds,
            "logged": self.logged,
            **generator_states(self.device),
            "data_hash": self.data_hash,
            "matrix_library": self.matrix_library,
        }

    def _load(self, state: dict[str, Any]) -> None:
        with self.run.loading():
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        self.search.load(state)
        self.seconds, self.logged = state["seconds"], state["logged"]
        restore_generators(state, self.device)

    def to_the_end(self) -> Outcome:
        """Run the remaining steps, and checkpoint when due."""
        outcome: Outcome | None = None
        while outcome is None and self.step < self.settings.steps:
            if self.run.should_stop():
                self._checkpoint()
                return "stopped"
            self._timed_step()
            self._keep_snapshot()
            logs = self.step in self.log_steps
            if logs or self.search.due(self.step):
                outcome = self._compare(logs)
            # a checkpoint after the end would let a resumed run train on
            if outcome is None and self.run.checkpoint_due():
                self._checkpoint()
        if outcome != "nonfinite":
            self._save_weights()
        return outcome or "done"

    def _keep_snapshot(self) -> None:
        """Keep the weights of this step, if it is one of `trainer.weights_at`."""
        if self.snapshots is not None and self.snapshots.due(self.step):
            self.snapshots.add(self.step, self._training_result())

    def _save_weights(self) -> None:
        """Write the final weights; those of `trainer.save_weights` alone have no owner."""
        if self.snapshots is not None:
            folder = self.run.part.folder / "weights"
            self.snapshots.write(folder, self.step, self._training_result())
        elif self.settings.save_weights:
            weights = self.model.state_dict()
            self.run.save_weights({name: value.cpu().numpy() for name, value in weights.items()})

    def _training_result(self) -> Evaluated:
        """Loss and wrong answers on the training rows as a measure finds them: in float32."""
        row = self._evaluate("train", "float32")
        return Evaluated(row["train_loss"], row["train_examples"] - row["train_right"])

    def _checkpoint(self) -> None:
        kept = {} if self.snapshots is None else {"snapshots": self.snapshots.state()}
        state = {**self.state(), "snapshot": self.search.rewind_state, **kept}
        self.run.checkpoint(state, self.step)

    def _timed_step(self) -> None:
        began = time.monotonic()
        self.train_step()
        self.seconds += time.monotonic() - began

    def train_step(self) -> None:
        """One optimiser step, without waiting for the device."""
        batch = self._batch()
        for group in self.optimiser.param_groups:
            group["lr"] = self._lr(self.step)
        self.optimiser.zero_grad()
        self.recorded(self._gradient, batch.left_n, batch.right_n, batch.answer_n)
        self.optimiser.step()
        self.step += 1

    def _gradient(
        self, left_b: torch.Tensor, right_b: torch.Tensor, answer_b: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Add the gradient of the mean loss to the parameters'."""
        forward = self.whole_batch if len(answer_b) == self.batch else self.model
        with self._noisy_weights():
            with precision.autocast(self.settings.precision, self.device):
                logits = forward(left_b, right_b)
            loss = functional.cross_entropy(logits.to(self.loss_type), answer_b)
            loss.backward()  # type: ignore[no-untyped-call]
        return ()

    @contextlib.contextmanager
    def _noisy_weights(self) -> Iterator[None]:
        """Add noise of `trainer.weight_noise` to the weights; remove it before they are updated."""
        deviation = self.settings.weight_noise
        if not deviation:
            yield
            return
        weights = [p.detach().clone() for p in self.parameters]
        noise = [torch.randn_like(p) for p in self.parameters]
        with torch.no_grad():
            torch._foreach_add_(self.parameters, noise, alpha=deviation)
        yield
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, weights)

    def _batch(self) -> Rows:
        """The training rows of the next step."""
        epoch, number = divmod(self.step, self.batches)
        if epoch != self.order_epoch:
            self.shuffled = self._shuffle(epoch + 1)
            self.order_epoch = epoch
        return self.shuffled.part(number * self.batch, self.batch)

    def _shuffle(self, epoch: int) -> Rows:
        """The training rows in the order of an epoch, the first of which is 1, with its noise."""
        train, settings, seed = self.rows["train"], self.settings, self.cell.seed
        order_n = arithmetic.order(len(train), self.batch, settings.replacement, seed, epoch)
        rows = train.take(order_n.to(self.device))
        rate = self.cell.data.outlier_size
        if rate:
            noise = arithmetic.redrawn(len(order_n), rate, self.all_answers_n, seed, epoch)
            is_noisy_n, answer_n = (column.to(self.device) for column in noise)
            rows.answer_n[is_noisy_n] = answer_n[is_noisy_n]
        return rows

    def _lr(self, step: int) -> float:
        config, steps = self.cell.optim, self.settings.steps
        return optim.learning_rate(config.lr, config.schedule, step, steps, self.batches)

    def _compare(self, logs: bool) -> Outcome | None:
        """Check the thresholds at this step, log it if `logs`; return the outcome at the end."""
        splits = list(thresholds.SPLITS) if logs else self.search.open_splits()
        row: dict[str, Any] = {}
        for split in splits:
            row |= self._evaluate(split)
        rewind = self.search.check(row, self.step)
        if rewind is not None:
            self._load(rewind.state)
            self.search.begin_again(rewind)
            return None
        if not logs:
            return None
        outcome = self._log(row)
        self.search.remember(self.state)
        return outcome

    @torch.inference_mode()
    def _evaluate(self, split: str, number_format: str | None = None) -> dict[str, Any]:
        """Loss and right answers on all rows of a split, in evaluation mode and in `number_format`,
        by default that of the training.
        """
        number_format = number_format or self.settings.precision
        self.model.eval()
        rows, size = self.rows[split], self.settings.eval_batch_size
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        for start in range(0, len(rows), size):
            batch = rows.part(start, size)
            with precision.autocast(number_format, self.device):
                logits = self.model(batch.left_n, batch.right_n)
            answer_b = batch.answer_n
            loss = functional.cross_entropy(logits.to(self.loss_type), answer_b, reduction="sum")
            right_b = logits.argmax(1) == answer_b
            outliers = right_b[: max(self.outliers - start, 0)].sum()  # they come first
            sums += torch.stack([loss.double(), right_b.sum().double(), outliers.double()])
        self.model.train()
        loss_sum, right, outlier_right = sums.tolist()
        row = {
            f"{split}_loss": loss_sum / len(rows),
            f"{split}_right": int(right),
            f"{split}_examples": len(rows),
            f"{split}_accuracy": right / len(rows),
        }
        if split == "train":
            row |= {"outlier_right": int(outlier_right), "outlier_examples": self.outliers}
        return row

    def _log(self, row: dict[str, Any]) -> Outcome | None:
        """Log the row of this step; returns the outcome if it is the last."""
        stop_at = self.settings.stop_at
        is_accurate = stop_at is not None and row["test_accuracy"] >= stop_at
        is_last = is_accurate or self.step == self.settings.steps
        row |= self.search.reached | thresholds.gaps(self.search.reached) | norms.norms(self.model)
        if self.step:
            row["lr"] = self._lr(self.step - 1)
            row["steps_per_second"] = (self.step - self.logged) / self.seconds
        if is_last and self.settings.sharpness:
            loss, seed = self._training_loss, self.cell.seed
            row["sharpness"] = sharpness.sharpness(self.parameters, loss, seed)
        epoch = math.ceil(self.step / self.batches)
        self.run.log(epoch=epoch, step=self.step, examples=self._examples(), **row)
        self.seconds, self.logged = 0.0, self.step
        if not math.isfinite(row["train_loss"]):
            return "nonfinite"
        return "done" if is_last else None

    def _examples(self) -> int:
        """Rows in all batches so far."""
        epoch, number = divmod(self.step, self.batches)
        of_epoch = len(self.rows["train"])
        if self.settings.replacement:
            of_epoch = self.batch * self.batches
        return epoch * of_epoch + number * self.batch

    def _training_loss(self) -> torch.Tensor:
        """Mean loss over the training rows in evaluation mode, with its graph."""
        rows = self.rows["train"]
        self.model.eval()
        logits = self.model(rows.left_n, rows.right_n)
        self.model.train()
        return functional.cross_entropy(logits.to(self.loss_type), rows.answer_n)
