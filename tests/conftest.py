"""Tests in several processes (pytest -n 2): those on SLURM share one, and a test that ends its
process fails alone.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Replace every crashed process: by default xdist gives up after four for each that it began
    with.
    """
    if getattr(config.option, "maxworkerrestart", "absent") is None:
        config.option.maxworkerrestart = "1000"


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class SlurmTogether(LoadScopeScheduling):  # type: ignore[misc]
        """Every test by itself, those on SLURM as one scope. After a crash the rest of a scope goes
        to one process.
        """

        def _split_scope(self, nodeid: str) -> str:
            return "slurm" if nodeid.startswith("tests/slurm/") else nodeid

        def remove_node(self, node: Any) -> str | None:
            """Take a process out; returns the test that it crashed in. xdist's own would run that
            test again.
            """
            pending: OrderedDict[str, dict[str, bool]] = OrderedDict()
            for scope, completed in self.assigned_work.pop(node).items():
                tests = {test: False for test, over in completed.items() if not over}
                if tests:
                    pending[scope] = tests
            if not pending:
                return None
            scope, tests = next(iter(pending.items()))
            crashed = next(iter(tests))
            del tests[crashed]
            if not tests:
                del pending[scope]
            self.workqueue = OrderedDict([*pending.items(), *self.workqueue.items()])
            for other in self.assigned_work:
                self._reschedule(other)
            return crashed

        def _reschedule(self, node: Any) -> None:
            if (
                node not in self.registered_collections
            ):  # a replacement that still collects; xdist asks again then
                return
            super()._reschedule(node)
            if (
                self._pending_of(self.assigned_work[node]) == 1
            ):  # a process starts a test once it knows the next
                super()._reschedule(node)

    return SlurmTogether(config, log)
