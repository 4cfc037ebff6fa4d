"""The loop of a child: train the cells that the parent sends, one after another, and answer.

Messages come on standard input and answers go to standard output. A `StopRequest`, or the end of
the input (the parent died), asks for a checkpoint at the next step boundary. This is the only
module of launch/ that reaches the trainers, and torch through them.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import logging
import os
import queue
import sys
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from launch.plan.outcome import DISK, FINAL, FROZEN_CODE, class_of, message_of
from launch.plan.snapshot import difference_from_plan
from launch.worker.messages import (
    CellJob,
    CellResult,
    Failure,
    Message,
    NotSaved,
    Saved,
    StopRequest,
    from_line,
    to_line,
)

if TYPE_CHECKING:
    from trainers.part import FinishedCell, Part
    from trainers.run import Run


@dataclass(frozen=True)
class Writer:
    """The files of a child, and what its task gave it."""

    sweep: Path
    """The folder of the sweep."""
    name: str
    """The name of its own parts."""
    prefix: str
    """The beginning of the names of all parts of its task."""
    gpu_share: float
    """The share of the task's GPU that each cell uses."""
    archive: str
    """The archive with the code of the plan, which this process must run."""


class Inbox:
    """The parent's messages: cells wait in a queue, a request to stop takes effect at once."""

    def __init__(self, lines: TextIO) -> None:
        self.reason = "parent died"
        self._lines = lines
        self._stop = threading.Event()
        self._jobs: queue.Queue[CellJob | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def next_job(self) -> CellJob | None:
        """The next cell; None at the end of the messages."""
        return self._jobs.get()

    def stop_requested(self) -> bool:
        """Whether the current cell should stop; `reason` says why."""
        return self._stop.is_set()

    def _listen(self) -> None:
        for line in self._lines:
            message = from_line(line)
            if isinstance(message, StopRequest):
                self.reason = message.reason
                self._stop.set()
            elif isinstance(message, CellJob):
                self._jobs.put(message)
        self._stop.set()
        self._jobs.put(None)


def main(writer: Writer) -> None:
    """Train cells until the messages end."""
    messages, answers = _own_pipes()
    logging.basicConfig(
        level=logging.INFO, format="[%(asctime)s] %(message)s", datefmt="%F %T", stream=sys.stderr
    )
    inbox = Inbox(messages)
    trainer = CellTrainer(writer, inbox)
    while (job := inbox.next_job()) is not None:
        _choose_conversions(job.flat)
        result = trainer.train(job)
        _send(answers, replace(result, saved=trainer.saved))
    try:
        trainer.save()
        _send(answers, Saved())
    except OSError as error:
        _send(answers, NotSaved(_line_of(error)))


def _own_pipes() -> tuple[TextIO, TextIO]:
    """The parent's messages, and the answers to them.

    A user's class that reads from standard input finds its end, and what a library prints goes to
    the log. A process that it forks does not keep the answers open: their end tells the parent
    that this process has died.
    """
    messages, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w", buffering=1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    os.register_at_fork(after_in_child=answers.close)
    return messages, answers


class _NoPandas(importlib.abc.MetaPathFinder):
    """Lets no import find pandas."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Raise ModuleNotFoundError for pandas; other finders are asked for the rest."""
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname, name=fullname)


def _choose_conversions(flat: Mapping[str, Any]) -> None:
    """Let pyarrow find pandas only where a class of the user's trains, which may use both.

    It would import pandas before it converts its first value, half a second of CPU time, to
    recognise values of pandas; our own classes have none.
    """
    import pyarrow

    from trainers.config import kinds

    if kinds.own_names(flat):
        pyarrow.table({}).to_pandas()  # finds pandas, also after a cell that was kept from it
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pyarrow.array([0])
    finally:
        sys.meta_path.remove(finder)


def _send(answers: TextIO, message: Message) -> None:
    # without a parent nobody reads the answer, and its content is on disk
    with contextlib.suppress(BrokenPipeError):
        answers.write(to_line(message))


class CellTrainer:
    """Trains cells into the parts of one writer, one part per trainer."""

    def __init__(self, writer: Writer, inbox: Inbox) -> None:
        from trainers.part import finished_cells, finished_in_task

        self.writer, self.inbox = writer, inbox
        for folder in ("curves", "runs", "checkpoints"):
            (writer.sweep / folder).mkdir(parents=True, exist_ok=True)
        self.finished = finished_cells(writer.sweep, writer.prefix)
        self.finished_in_task = finished_in_task(writer.sweep, writer.prefix)
        self.parts: dict[str, Part] = {}
        self.differences: dict[str, str | None] = {}
        """For the code of each plan, why this process does not run it."""

    @property
    def saved(self) -> bool:
        """Whether the results of all cells are on disk."""
        return all(part.saved for part in self.parts.values())

    def save(self) -> None:
        """Write the results that are not on disk yet. Raises OSError."""
        for part in self.parts.values():
            if not part.saved:
                part.write()

    def train(self, job: CellJob) -> CellResult:
        """Train one cell. An exception becomes its record and answer, and the child continues;
        sys.exit in a user's class is one too.
        """
        finished = self.finished_in_task if job.again else self.finished
        if job.cell in finished:
            return self._end_of(job, finished[job.cell])
        run: Run | None = None
        try:
            run = self._start_run(job)
            failure = job.failure or self._other_code(job.code)
            if failure is not None:
                run.restore()
                run.close("failed", failure.name, failure.error)
                return CellResult(job.cell, "failed", run.epochs, failure.error)
            return self._train(run, job)
        except BaseException as error:
            if class_of(error) is not DISK:  # a full log has room for the parent's line at most
                logging.exception("cell %s failed", job.cell)
            return _record_failure(run, job, error)

    def _end_of(self, job: CellJob, end: FinishedCell) -> CellResult:
        """The answer for a cell that has ended before; an error if its data was not that of now."""
        difference = _other_data(job, end) if end.status in FINAL else None
        if difference is not None:
            return CellResult(job.cell, "failed", end.epochs, difference, progress=False)
        return CellResult(job.cell, end.status, end.epochs)

    def _other_code(self, code: str) -> Failure | None:
        """The failure of every cell if this process does not run the plan's code."""
        if code not in self.differences:
            self.differences[code] = difference_from_plan(code, self.writer.archive)
        difference = self.differences[code]
        return Failure(FROZEN_CODE.name, difference) if difference else None

    def _train(self, run: Run, job: CellJob) -> CellResult:
        import trainers
        from trainers import config

        cell = config.parse(job.flat)
        run.add_facts(source_hash=config.source_hash(cell.data))
        run.mark_running()
        outcome = trainers.train(cell, run)
        if outcome == "stopped" and not self.inbox.stop_requested():
            # the task would start the cell again at once, for ever
            raise RuntimeError(
                f"{cell.trainer.entry} returned 'stopped', but run.should_stop() is false: "
                "expected 'done' at the end of a training"
            )
        problem = run.close(outcome, self.inbox.reason if outcome == "stopped" else None)
        if problem is not None:
            return CellResult(job.cell, "failed", run.epochs, problem, "error", progress=False)
        return CellResult(
            job.cell, outcome, run.epochs, progress=run.progressed, metric=run.last_metric
        )

    def _start_run(self, job: CellJob) -> Run:
        from trainers.checkpoint import Checkpoints
        from trainers.run import Run

        checkpoints = Checkpoints(
            self.writer.sweep / "checkpoints", job.cell, job.attempt, self.writer.name
        )
        run = Run(
            cell=job.cell,
            flat=job.flat,
            attempt=job.attempt,
            part=self._part(job.flat["trainer.name"]),
            checkpoints=checkpoints,
            should_stop=self.inbox.stop_requested,
            checkpoint_seconds=job.flat["run.checkpoint_seconds"],
            gpu_share=self.writer.gpu_share,
        )
        run.add_facts(code=job.code, environment=job.environment)
        return run

    def _part(self, trainer: str) -> Part:
        import trainers
        from trainers.part import Part

        if trainer not in self.parts:
            name = f"{self.writer.name}.{trainer}"
            metrics = trainers.metrics(trainer)
            self.parts[trainer] = Part(self.writer.sweep, name, metrics, throttle=True)
        return self.parts[trainer]


def _other_data(job: CellJob, end: FinishedCell) -> str | None:
    """Why the result of a cell is not one of the data of now; None if it is, or nothing tells."""
    from trainers import config

    present = config.source_hash(config.parse(job.flat).data)
    if None in (end.source_hash, present) or end.source_hash == present:
        return None
    return (
        f"it is {end.status} with other data: the files had the hash {end.source_hash}, and those "
        f"of {job.flat['data.root']} have {present}; `redescent submit NAME --again` trains it "
        "again, on these"
    )


def _record_failure(run: Run | None, job: CellJob, error: BaseException) -> CellResult:
    """Record the cell's traceback; the answer says if this failed too."""
    failure, text = class_of(error).name, _line_of(error)
    epochs = 0
    if run is not None:
        epochs = run.epochs
        try:
            run.close("failed", failure, _as_utf8(traceback.format_exc()))
        except OSError as second:
            text += f" (and its record could not be written: {second})"
    return CellResult(job.cell, "failed", epochs, text, failure, progress=False)


def _line_of(error: BaseException) -> str:
    """The type of an error and the first line of its message."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    first, *_ = message_of(error).strip().splitlines() or [""]
    return _as_utf8(f"{name}: {first}" if first else name)


def _as_utf8(text: str) -> str:
    """A text that files can hold: Python's stand-ins for undecodable bytes are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
