"""Entry of a child: signals first, everything else after.

    python -m launch.worker.child SWEEP_FOLDER WRITER TASK_PREFIX GPU_SHARE

Signals for the whole job reach its children too. They are ignored here: the parent says when to
stop.
"""

import signal

STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
for _number in STOP_SIGNALS:
    signal.signal(_number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT))

import contextlib  # noqa: E402
import errno  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import queue  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

_stop = threading.Event()
_reason = "parent died"
_cells: "queue.Queue[dict[str, Any] | None]" = queue.Queue()


def _listen() -> None:
    """Sort messages: a stop at once, cells in their turn."""
    global _reason
    for line in sys.stdin:
        message = json.loads(line)
        if "stop" in message:
            _reason = message["stop"]
            _stop.set()
        else:
            _cells.put(message)
    _stop.set()
    _cells.put(None)


def main(sweep: Path, writer: str, prefix: str, gpu_share: float) -> None:
    """Train cells until the end of the messages."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints belongs to the log, not among the answers
    logging.basicConfig(
        level=logging.INFO, format="[%(asctime)s] %(message)s", datefmt="%F %T", stream=sys.stderr
    )
    threading.Thread(target=_listen, daemon=True).start()
    trainer = _Trainer(sweep, writer, prefix, gpu_share)
    while (message := _cells.get()) is not None:
        answer = {"cell": message["cell"], **trainer.train(message), "saved": trainer.saved}
        with contextlib.suppress(
            BrokenPipeError
        ):  # the parent is gone, and what it would have read is on disk
            answers.write(json.dumps(answer) + "\n")
    trainer.save()
    with contextlib.suppress(BrokenPipeError):
        answers.write(json.dumps({"saved": True}) + "\n")


class _Trainer:
    """Trains cells into the parts of one writer."""

    def __init__(self, sweep: Path, writer: str, prefix: str, gpu_share: float) -> None:
        from trainers.part import Part, finished

        self.sweep, self.writer, self.gpu_share = sweep, writer, gpu_share
        for folder in ("curves", "runs", "checkpoints"):
            (sweep / folder).mkdir(parents=True, exist_ok=True)
        self.finished = finished(sweep, prefix)
        self.parts: dict[str, Part] = {}

    @property
    def saved(self) -> bool:
        """Whether the results of all cells are on disk."""
        return all(part.saved for part in self.parts.values())

    def save(self) -> None:
        """Write what was gathered. Raises OSError."""
        for part in self.parts.values():
            if not part.saved:
                part.write()

    def train(self, message: dict[str, Any]) -> dict[str, Any]:
        """Train one cell; whatever it raises becomes its record and answer, and never ends the
        child.
        """
        if message["cell"] in self.finished:
            return _answer(*self.finished[message["cell"]])
        run = None
        try:
            run = self._run(message)
            return self._train(run, message)
        except Exception as error:
            logging.exception("cell %s failed", message["cell"])
            last = traceback.format_exception_only(error)[-1].strip()
            if run is not None:
                try:
                    run.close("failed", _class_of(error), traceback.format_exc())
                except OSError as second:
                    last += f" (and its record could not be written: {second})"
            return _answer("failed", 0, error=last, progress=False, kind=_class_of(error))

    def _run(self, message: dict[str, Any]) -> Any:
        from trainers.checkpoint import Checkpoints
        from trainers.part import Part
        from trainers.run import Run

        kind = message["flat"]["trainer.name"]
        if kind not in self.parts:
            self.parts[kind] = Part(
                self.sweep, f"{self.writer}.{kind}", _metrics(kind), throttle=True
            )
        run = Run(
            cell=message["cell"], flat=message["flat"], attempt=message["attempt"], part=self.parts[kind],
            checkpoints=Checkpoints(self.sweep / "checkpoints", message["cell"], message["attempt"], self.writer),
            should_stop=_stop.is_set, checkpoint_seconds=message["flat"]["run.checkpoint_seconds"],
            gpu_share=self.gpu_share,
        )  # fmt: skip
        run.add_facts(code=message["code"], environment=message["environment"])
        return run

    def _train(self, run: Any, message: dict[str, Any]) -> dict[str, Any]:
        import trainers
        from trainers import config

        if message["given_up"]:
            run.restore()
            run.close("failed", "killed", message["given_up"])
            return _answer("failed", run.epochs, error=message["given_up"])
        run.mark_running()
        outcome = trainers.train(config.parse(message["flat"]), run)
        run.close(outcome, _reason if outcome == "stopped" else None)
        return _answer(outcome, run.epochs, progress=run.progressed)


def _answer(
    status: str,
    epochs: int,
    error: str | None = None,
    progress: bool = True,
    kind: str | None = None,
) -> dict[str, Any]:
    return {"status": status, "epochs": epochs, "error": error, "progress": progress, "class": kind}


def _metrics(kind: str) -> Any:
    import importlib

    return importlib.import_module(f"trainers.{kind}").METRICS


def _class_of(error: Exception) -> str:
    """Class of a failure, each with a policy of its own: out of memory, disk full, or an error of
    the user's code.
    """
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "out of memory"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return "disk"
    return "error"


if __name__ == "__main__":
    import sys
    from pathlib import Path

    from launch.worker import _child

    sweep, name, prefix, gpu_share = sys.argv[1:]
    _child.main(_child.Writer(Path(sweep), name, prefix, float(gpu_share)))
