"""The command line: one function per command, and how results are shown."""

from launch.cli.commands import main

__all__ = ["main"]
