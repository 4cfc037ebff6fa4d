"""Tests in several processes (pytest -n 4): those on SLURM, which wait most of the time, share two,
each with a cluster of its own; a test that ends its process fails alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("redescent", deadline=None)  # a busy machine is not a slow property
settings.load_profile("redescent")


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
        """Every test by itself, those on SLURM as two scopes. After a crash the rest of a scope
        goes to one process.
        """

        def _split_scope(self, nodeid: str) -> str:
            if not nodeid.startswith("tests/slurm/"):
                return nodeid
            is_first = nodeid.startswith("tests/slurm/test_slurm.py")
            return "slurm, first half" if is_first else "slurm, second half"

        def remove_node(self, node: Any) -> str | None:
            """Take a process out; returns the test that it crashed in. xdist's own would run that
            test again.
            """
            pending = _unfinished(self.assigned_work.pop(node))
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
            # a replacement that still collects is rescheduled by xdist when it has collected
            if node not in self.registered_collections:
                return
            super()._reschedule(node)
            # a process starts a test only when it knows the next
            if self._pending_of(self.assigned_work[node]) == 1:
                super()._reschedule(node)

    return SlurmTogether(config, log)


def _unfinished(scopes: Mapping[str, Mapping[str, bool]]) -> OrderedDict[str, dict[str, bool]]:
    """The tests of each scope that have not finished, without the scopes that have none."""
    pending: OrderedDict[str, dict[str, bool]] = OrderedDict()
    for scope, is_finished in scopes.items():
        tests = {test: False for test, is_over in is_finished.items() if not is_over}
        if tests:
            pending[scope] = tests
    return pending
