"""The command line: one function per command, and how results are shown."""

import sys

try:
    from launch.cli.commands import main
except KeyboardInterrupt:  # Ctrl-C while Python is still importing
    sys.exit(130)

__all__ = ["main"]
