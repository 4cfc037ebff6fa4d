"""What a submission keeps on disk and its jobs read. Standard library alone."""

from launch.plan.launcher import Launcher
from launch.plan.plan import Plan, PlanError, PlannedCell, load, load_all

__all__ = ["Launcher", "Plan", "PlanError", "PlannedCell", "load", "load_all"]
