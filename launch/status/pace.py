"""When a sweep that is watched will be done, from how fast it went while it was watched. Pure."""

from __future__ import annotations

LEAST_SHARE = 0.01
"""Before this share of the sweep has been trained, nothing is said."""


class Pace:
    """Estimates the time left from the share done at two or more times."""

    def __init__(self) -> None:
        self._start: tuple[float, float] | None = None
        self._last: tuple[float, float] | None = None

    def add(self, now: float, share: float) -> None:
        """Note the share that is done, 0 to 1, at a time in seconds.

        The share changes only when a part is written; the time until the next one counts too.
        """
        if self._start is None or share < self._start[1]:
            self._start = self._last = (now, share)
        elif self._last is None or share > self._last[1]:
            self._last = (now, share)

    def seconds_left(self, now: float) -> float | None:
        """Seconds from `now` until everything is done; None if nothing can be said, as when the
        expected end has passed.
        """
        if self._start is None or self._last is None:
            return None
        trained = self._last[1] - self._start[1]
        if trained < LEAST_SHARE:
            return None
        seconds_per_share = (self._last[0] - self._start[0]) / trained
        end = self._last[0] + seconds_per_share * (1 - self._last[1])
        return end - now if end > now else None


def duration_text(seconds: float) -> str:
    """A duration as a person says it: 40 s, 12 min, 3 h 20 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
