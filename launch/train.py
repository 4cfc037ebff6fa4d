"""One cell through plain Hydra: `python -m launch.train model.width=16 data=cifar10 data.root=DIR`.

With `-m` it is an ordinary Hydra multirun, also through hydra-submitit-launcher (`hydra/launcher=v100`). Cells have the
same ids and write to the same store as with `redescent submit`: `name=fig2_ab` joins that sweep. A cell that is done is
not run again; one that was interrupted goes on from its checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from launch import compose, plan, process, submit, worker
from launch.errors import UserError


def run(config: DictConfig) -> None:
    """Train the cell of a composed configuration in a child of this process.

    Ends the process with one message for a bad configuration. Raises RuntimeError if the cell failed or was stopped:
    Hydra and SLURM then see a failed job.
    """
    try:
        made, sweep, done = _planned(config)
    except UserError as error:
        sys.exit(f"error: {error}")
    cell = made.cells[0]
    if done:
        worker.say(f"cell {cell.id}: done before; its rows are in {sweep}")
        return
    if made.backend == "local":
        plan.write_json(made.folder(sweep) / "local.json", process.own())
    task = worker.Worker(worker.Assignment(made, sweep, 0, 0), received=[], deadline=None)
    reason = task.run()
    if reason is not None or task.results["failed"]:
        raise RuntimeError(f"cell {cell.id} did not finish ({reason or 'it failed'}); see `redescent logs {cell.id}`")
    worker.say(f"cell {cell.id}: rows are in {sweep}")


def _planned(config: DictConfig) -> tuple[plan.Plan, Path, bool]:
    """The plan of the one cell, the sweep's folder, and whether the cell is done already."""
    compose.check_name(config.name)
    cell = compose.single(config)
    submit.check_data([cell])
    sweep = Path(hydra.utils.to_absolute_path(config.logs)) / config.name
    launcher = OmegaConf.to_container(HydraConfig.get().launcher, resolve=False)
    made, done = submit.direct(sweep, config.name, cell, launcher)  # type: ignore[arg-type]
    return made, sweep, done


if __name__ == "__main__":
    hydra.main(config_path=str(compose.CONFIGS), config_name="config", version_base="1.3")(run)()
