"""Train one cell through plain Hydra: `python -m launch.train model.width=16 data=cifar10
data.root=DIR`.

With `-m` it is an ordinary Hydra multirun, also through hydra-submitit-launcher
(`hydra/launcher=v100`). Cells have the same ids and write to the same store as with `redescent
submit`: `name=fig2_ab` joins that sweep. A cell that is done is not run again; an interrupted cell
resumes from its checkpoint.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from analysis.store import StoreError
from launch.errors import FAILED, INTERRUPTED, WRONG_USE, UserError
from launch.plan import Launcher, Plan, PlanError, markers, project
from launch.submit import submission
from launch.submit.data_check import check_data
from launch.sweep import compose
from launch.sweep.request import Cell, check_new_name
from launch.worker import pool
from launch.worker.assignment import Assignment


def run(config: DictConfig) -> None:
    """Train the cell of a composed configuration in a child of this process.

    Exits with one message and status 2 if the configuration is bad, 1 if the cell failed or was
    stopped. In a multirun the latter raises RuntimeError, as Hydra's launchers expect.
    """
    try:
        cell, plan, sweep = _plan_cell(config)
    except (UserError, PlanError, StoreError, OSError) as error:
        _end(WRONG_USE, f"error: {error}")
    if plan is None:
        pool.log(f"cell {cell.id}: already done; its rows are in {sweep}")
        return
    if plan.backend == "local":
        markers.mark_local_worker(plan.folder(sweep))
    task = pool.Pool(Assignment(plan, sweep, 0, 0), received=[], deadline=None)
    try:
        reason = task.run()
    except KeyboardInterrupt:
        _end(INTERRUPTED, f"interrupted: cell {cell.id} is saved, the same command resumes it")
    except pool.RepeatedCrash as error:
        _fail(f"cell {cell.id}: {error}; fix the cause named above, then run the same command")
    if reason is None and not task.results["failed"]:
        pool.log(f"cell {cell.id}: rows are in {sweep}")
        return
    setting = project.setting_for(sweep.parent)
    command = " ".join(filter(None, [setting, "redescent why", cell.id]))
    _fail(f"cell {cell.id} did not finish ({reason or 'it failed'}); see `{command}`")


def _fail(message: str) -> NoReturn:
    """End the process, or in a multirun this cell of it."""
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        # The other cells of the multirun continue, and the launcher names this one.
        raise RuntimeError(message)
    _end(FAILED, f"error: {message}")


def _end(status: int, message: str) -> NoReturn:
    """End the process with a message on standard error."""
    print(message, file=sys.stderr)
    sys.exit(status)


def _plan_cell(config: DictConfig) -> tuple[Cell, Plan | None, Path]:
    """The one cell, its plan, None if it is done already, and the sweep's folder."""
    check_new_name(config.name)
    if config.get("axes"):
        raise UserError(
            "the sweep has axes, and this trains one cell: use `redescent submit`, or remove them "
            "('~axes')"
        )
    if any(text.lstrip("+").startswith("seeds=") for text in HydraConfig.get().overrides.task):
        raise UserError(
            "seeds: this trains one cell; use seed=N, or `redescent submit` for several"
        )
    start = Path(hydra.utils.get_original_cwd())
    project.make_importable(start)
    cell = compose.single_cell(config)
    check_data([cell.flat])
    sweep = project.below_project(config.logs, start) / config.name
    settings: Any = OmegaConf.to_container(HydraConfig.get().launcher, resolve=False)
    plan = submission.plan_single_cell(sweep, config.name, cell, Launcher(settings))
    return cell, plan, sweep


def main() -> None:
    """Compose the configuration and train; Hydra's own errors end with the status of wrong use."""
    composed: list[str] = []

    def train(config: DictConfig) -> None:
        composed.append(str(config.name))
        run(config)

    settings = {"config_path": str(compose.CONFIGS), "config_name": "config"}
    try:
        hydra.main(**settings, version_base="1.3")(train)()
    except SystemExit as end:
        is_bad_command_line = end.code == 1 and not composed
        sys.exit(WRONG_USE if is_bad_command_line else end.code)
    except KeyboardInterrupt:
        _end(INTERRUPTED, "interrupted")


if __name__ == "__main__":
    main()
