"""Tests in several processes (pytest -n 5): those on SLURM, which wait most of the time, share
three, each with a cluster of its own; those in a browser share one; so do those of a file that
share something dear; a test that ends its process fails alone.
"""

from __future__ import annotations

import gc
from collections import OrderedDict
from collections.abc import Generator, Mapping
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("redescent", deadline=None)  # a busy machine is not a slow property
settings.load_profile("redescent")

SLURM_CHAINS = {
    "test_slurm.py": 1,
    "test_cluster.py": 1,
    "test_failure_paths.py": 2,
    "test_storm.py": 2,
    "test_measures.py": 3,
    "test_operations.py": 3,
    "test_search_rounds.py": 3,
}
"""Test files that one process runs one after another, on one cluster; about equally long."""

TOGETHER = (
    "analysis/test_grok_embeddings.py",
    "docs/test_generated_pages.py",
    "launch/test_calibrate.py",
    "launch/test_lost_files.py",
    "launch/test_wheel.py",
    "report/test_report_page.py",
    "trainers/test_checkpoint.py",
    "trainers/test_landscape.py",
    "trainers/test_points.py",
)
"""Test files with something that takes seconds to make and that all their tests read."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Replace every crashed process: by default xdist gives up after four for each that it began
    with.
    """
    if getattr(config.option, "maxworkerrestart", "absent") is None:
        config.option.maxworkerrestart = "1000"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Let Python look for no garbage while tests are imported, a third of that time, nor later
    among what stays.
    """
    gc.disable()
    result = yield
    gc.freeze()
    gc.enable()
    return result


def pytest_unconfigure() -> None:
    """Let Python end as usual: libraries check that nothing of theirs is left."""
    gc.unfreeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):  # type: ignore[misc]
        """The scopes of `_scope_of`, in as many processes as are free. After a
        crash the rest of a scope goes to one process.
        """

        def _split_scope(self, nodeid: str) -> str:
            return _scope_of(nodeid)

        def remove_node(self, node: Any) -> str | None:
            """Take a process out; returns the test that it crashed in. xdist's own would run that
            test again.
            """
            pending = _unfinished(self.assigned_work.pop(node))
            if not pending:
                return None
            crashed = _take_first(pending)
            self.workqueue = OrderedDict([*pending.items(), *self.workqueue.items()])
            for other in self.assigned_work:
                self._reschedule(other)
            return crashed

        def _assign_work_unit(self, node: Any) -> None:
            scope, tests = next(iter(self.workqueue.items()))
            try:
                super()._assign_work_unit(node)
            except OSError:
                # the process has crashed too, which xdist will report next: others run these tests
                del self.assigned_work[node][scope]
                self.workqueue[scope] = tests
                self.workqueue.move_to_end(scope, last=False)

        def _reschedule(self, node: Any) -> None:
            # a replacement that still collects is rescheduled by xdist when it has collected
            if node not in self.registered_collections:
                return
            super()._reschedule(node)
            # a process starts a test only when it knows the next
            if self._pending_of(self.assigned_work[node]) == 1:
                super()._reschedule(node)

    return Together(config, log)


def _scope_of(nodeid: str) -> str:
    """What a test shares a process with: itself alone, unless its file needs a cluster or shares
    something.
    """
    file = nodeid.partition("::")[0].removeprefix("tests/")
    if file.startswith("slurm/"):
        return f"slurm, chain {SLURM_CHAINS.get(file.removeprefix('slurm/'), 3)}"
    return file if file in TOGETHER else nodeid


def _unfinished(scopes: Mapping[str, Mapping[str, bool]]) -> OrderedDict[str, dict[str, bool]]:
    """The tests of each scope that have not finished, without the scopes that have none."""
    pending: OrderedDict[str, dict[str, bool]] = OrderedDict()
    for scope, is_finished in scopes.items():
        tests = {test: False for test, is_over in is_finished.items() if not is_over}
        if tests:
            pending[scope] = tests
    return pending


def _take_first(scopes: OrderedDict[str, dict[str, bool]]) -> str:
    """Remove the first test, and its scope where no test is left in it; returns the test."""
    scope, tests = next(iter(scopes.items()))
    first = next(iter(tests))
    del tests[first]
    if not tests:
        del scopes[scope]
    return first
