"""Classes of failure: how an exception finds its class, and what follows from each."""

from __future__ import annotations

import errno

import pytest

from launch.plan.outcome import (
    CRASHED,
    DISK,
    ERROR,
    FAILURES,
    KILLED,
    NOT_TRAINED,
    OUT_OF_MEMORY,
    FailureClass,
    class_of,
    failure_class,
    last_line,
)


class NotTrainedError(RuntimeError):
    """Bears the name of the trainers' exception."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), OUT_OF_MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), OUT_OF_MEMORY),
        (OSError(errno.ENOSPC, "No space left on device"), DISK),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), DISK),
        (OSError(errno.EROFS, "Read-only file system"), DISK),
        (FileNotFoundError(errno.ENOENT, "No such file"), ERROR),
        (ValueError("x"), ERROR),
        (NotTrainedError("no weights"), NOT_TRAINED),
    ],
    ids=str,
)
def test_an_exception_has_a_class(error: Exception, expected: FailureClass) -> None:
    assert class_of(error) is expected


def test_a_failure_without_a_known_class_is_an_error() -> None:
    assert failure_class(None) is ERROR
    assert failure_class("a class of another version") is ERROR


def test_what_follows_from_each_class() -> None:
    halved = {name for name, failure in FAILURES.items() if failure.fewer_at_a_time}
    assert halved == {OUT_OF_MEMORY.name, KILLED.name}
    assert [name for name, failure in FAILURES.items() if failure.stops_task] == [DISK.name]
    assert [name for name, failure in FAILURES.items() if failure.repeats_stop_sweep] == ["error"]
    assert "redescent doctor" in CRASHED.advice


@pytest.mark.parametrize("failure", FAILURES.values(), ids=lambda failure: failure.name)
def test_every_advice_names_a_command(failure: FailureClass) -> None:
    assert "`redescent " in failure.advice.format(name="demo", short="c1-0123")


def test_the_last_line_of_a_traceback_names_the_error() -> None:
    assert last_line("Traceback\n  file\nValueError: a\n  more of it") == "ValueError: a"
    assert last_line("killed\n") == "killed"
    assert last_line(None) == ""
