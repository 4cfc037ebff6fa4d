"""A training that is killed and resumed, against an undisturbed one.

python -m gpu_sections.resume ATTEMPT    (one attempt, as JSON; `start_attempt` runs it)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

from turns import ROOT

from gpu_sections import cells
from gpu_sections.settings import Settings
from gpu_sections.table import Row, check
from gpu_sections.trainings import attempt, rows, rows_apart, tensors, tensors_apart


def resume(settings: Settings) -> Iterator[Row]:
    """Run each cell once undisturbed, and once killed after its first checkpoint and resumed."""
    trainings = resumable_cells(settings)
    calm, killed, resumed = {}, {}, {}
    for name, flat in trainings.items():
        calm[name] = start_attempt(flat, calm_folder(settings, name), 1)
        killed[name] = start_attempt(flat, killed_folder(settings, name), 1)
    # each is watched from its start, so none ends unnoticed while waiting for another
    with ThreadPoolExecutor() as pool:
        kills = []
        for name, process in killed.items():
            checkpoints = killed_folder(settings, name) / "checkpoints"
            kills.append(pool.submit(kill_after_checkpoint, process, checkpoints))
    for kill in kills:
        kill.result()
    for name, flat in trainings.items():
        resumed[name] = start_attempt(flat, killed_folder(settings, name), 2)
    for name in trainings:
        statuses = calm[name].wait(), resumed[name].wait()
        if any(statuses):
            raise RuntimeError(
                f"{name}: the undisturbed and the resumed run ended with status {statuses}, "
                "expected 0"
            )
        yield from compare_runs(settings, name)


def calm_folder(settings: Settings, name: str) -> Path:
    """Where the undisturbed run of a cell writes."""
    return Path(settings.folder) / f"{name} calm"


def killed_folder(settings: Settings, name: str) -> Path:
    """Where the killed and resumed run of a cell writes."""
    return Path(settings.folder) / f"{name} killed"


def resumable_cells(settings: Settings) -> dict[str, dict[str, Any]]:
    """A vision cell with augmentation and, unless `quick`, a transformer with dropout: both
    deterministic and with many checkpoints.
    """
    width, epochs = (4, 20) if settings.quick else (8, 12)
    image = cells.image_cell(
        settings,
        settings.device,
        f"model={settings.network}",
        f"model.width={width}",
        "data.augment=true",
        "trainer.deterministic=true",
        f"trainer.epochs={epochs}",
        "run.checkpoint_seconds=0",
    )
    if settings.quick:
        return {settings.network: image}
    table = cells.table_cell(
        "preset=power2022_adam_dropout",
        "trainer.deterministic=true",
        f"run.device={settings.device}",
        "run.compile=false",
        "run.checkpoint_seconds=0.5",
        "trainer.exact_steps=rows",
        "trainer.steps=2000",
    )
    return {settings.network: image, "power2022": table}


def start_attempt(flat: dict[str, Any], folder: Path, number: int) -> subprocess.Popen[bytes]:
    """Run an attempt in its own process, which saves its final state in state.pt."""
    order = json.dumps({"flat": flat, "folder": str(folder), "number": number})
    places = os.pathsep.join([str(ROOT), str(ROOT / "benchmarks")])
    command = [sys.executable, "-m", "gpu_sections.resume", order]
    return subprocess.Popen(command, env=os.environ | {"PYTHONPATH": places})


def save_attempt(flat: dict[str, Any], folder: str, number: int) -> None:
    """An attempt that saves its first step and its final state in state.pt."""
    import torch

    began, state = attempt(flat, Path(folder), number)
    learnt = {"model": state["model"], "optimiser": state["optimiser"]}
    torch.save({"began": began, "state": learnt}, Path(folder) / "state.pt")


def kill_after_checkpoint(process: subprocess.Popen[bytes], checkpoints: Path) -> None:
    """Send SIGKILL once a checkpoint exists. Raises RuntimeError if the process ends before."""
    while not list(checkpoints.glob("c.*.pt")):
        if process.poll() is not None:
            raise RuntimeError(
                f"the run ended with status {process.returncode} before its first checkpoint"
            )
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise RuntimeError(
            f"the run ended with status {process.returncode} before it was killed; make it longer"
        )


def compare_runs(settings: Settings, name: str) -> Iterator[Row]:
    """Compare rows and final state of an undisturbed run with attempt 2 of a killed one."""
    import torch

    section = settings.section
    calm, killed = calm_folder(settings, name), killed_folder(settings, name)
    expected = torch.load(calm / "state.pt", map_location="cpu")
    found = torch.load(killed / "state.pt", map_location="cpu")
    step, note = found["began"], "after SIGKILL"
    status: Literal["passed", "failed"] = "passed" if step else "failed"
    yield Row(section, f"{name} resumed from", step, "step", status=status, note=note)
    calm_rows = rows(calm, 1)
    apart = rows_apart(calm_rows, rows(killed, 2))
    yield check(section, f"{name} rows that differ", apart, 0, f"of {len(calm_rows)}")
    calm_tensors = tensors(expected["state"])
    apart = tensors_apart(calm_tensors, tensors(found["state"]))
    note = f"of {len(calm_tensors)}: weights and optimiser"
    yield check(section, f"{name} tensors that differ", apart, 0, note)


if __name__ == "__main__":
    save_attempt(**json.loads(sys.argv[1]))
