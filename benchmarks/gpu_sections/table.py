"""The rows of the table: on the terminal, in gpu.csv, and as `ratio` lines."""

from __future__ import annotations

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Row:
    """A line of the table: something measured, or a check of `value` against `limit`."""

    section: str
    name: str
    value: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    status: Literal["measured", "passed", "failed"] = "measured"
    note: str = ""

    def text(self) -> str:
        """The row for the terminal."""
        value = digits(self.value)
        extent = ""
        if self.low is not None:
            extent = f"({digits(self.low)} to {digits(self.high)})"
        elif self.limit is not None:
            extent = f"(at most {self.limit:g})"
        measured = f"{self.section:12s} {self.name:36s} {value:>10s} {self.unit:10s} {extent:22s}"
        return f"{measured} {self.status:8s} {self.note}".rstrip()


def check(section: str, name: str, value: float, limit: float, note: str = "") -> Row:
    """A row that passes if `value` is at most `limit`; NaN does not pass."""
    status: Literal["passed", "failed"] = "passed" if value <= limit else "failed"
    return Row(section, name, value, limit=limit, status=status, note=note)


def failed(section: str, note: str) -> Row:
    """The row of a section that did not finish."""
    return Row(section, "section", status="failed", note=note)


def digits(number: float | None) -> str:
    """Four digits, without an exponent above 1; empty for None."""
    if number is None:
        return ""
    return f"{number:,.0f}" if number >= 1000 else f"{number:.4g}"


def write_table(table: list[Row], path: Path) -> None:
    """The rows as CSV; fields that a row does not have are empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in dataclasses.fields(Row)]
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for row in table:
            writer.writerow(dataclasses.asdict(row))


def ratio_lines(table: list[Row]) -> list[str]:
    """`ratio NAME VALUE` of every row with the unit "ratio"."""
    lines = []
    for row in table:
        if row.unit == "ratio":
            section = row.section.removeprefix("speed ").replace("=", "")
            name = f"gpu_{section}_{row.name}".replace(" ", "_")
            lines.append(f"ratio {name} {row.value:.2f}")
    return lines
