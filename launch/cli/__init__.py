"""The terminal: one function a command, and how each answer is shown."""

from launch.cli.commands import main

__all__ = ["main"]
