"""The files of a submission, which its jobs also read. Standard library only."""

from launch.plan.launcher import Launcher
from launch.plan.plan import Plan, PlanError, PlannedCell, load, load_all
from launch.plan.search import Search

__all__ = ["Launcher", "Plan", "PlanError", "PlannedCell", "Search", "load", "load_all"]
