"""The page that compares the published numbers with ours: docs/results/fidelity.md.

docs/published.yaml has the published numbers and says where ours are. Ours are taken from the
tables (.csv) and records (.json) that figures and benchmarks wrote below docs/results/.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS / "results"
PUBLISHED = DOCS / "published.yaml"

NUMBER = r"-?[\d,]*\.?\d+(?:e-?\d+)?"
BOUNDS = ("above", "at least", "below", "at most")
HEAD = ("what", "published", "source", "ours", "agrees")

Verdict = Literal["yes", "no", "open", "not run"]
VERDICTS: tuple[Verdict, ...] = ("yes", "no", "open", "not run")


class FidelityError(ValueError):
    """published.yaml asks for something that is not there."""


@dataclass(frozen=True)
class Published:
    """A published number, a range, or a claim: values from `low` to `high`.

    is_claim: one end is infinite, so ours has to lie inside, not only to overlap. decimals: as
    printed, None for a claim.
    """

    low: float
    high: float
    is_claim: bool
    decimals: int | None


@dataclass(frozen=True)
class Ours:
    """Our value and its interval; both ends are the value where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Rule:
    """Where our value is.

    file: below docs/results/. at: keys, positions in a list, and conditions that choose the rows
    of a list. value: the key of the value; low and high: those of its interval. take: what to make
    of several rows; "mean" has the least and the greatest value as its interval.
    """

    file: str
    value: str
    at: Sequence[Any] = ()
    low: str | None = None
    high: str | None = None
    take: Literal["mean", "least", "greatest"] | None = None


@dataclass(frozen=True)
class Row:
    """A published value, as printed, and the rule for ours; reason: why the two differ."""

    what: str
    published: str
    source: str
    ours: Rule | None
    reason: str = ""


@dataclass(frozen=True)
class Section:
    """The rows that the same commands give.

    setting: how ours differs from the published one. part: heading of the part of the page that
    begins here. is_trained: a network was trained for ours; otherwise it is computed or counted.
    """

    title: str
    setting: str
    commands: Sequence[str]
    rows: Sequence[Row]
    part: str = ""
    is_trained: bool = True


def page() -> Iterator[str]:
    """The lines of fidelity.md."""
    sections = read(PUBLISHED)
    results = {id(row): compare(row) for section in sections for row in section.rows}
    yield "# Published numbers and ours"
    yield ""
    yield from yaml.safe_load(PUBLISHED.read_text())["introduction"].strip().splitlines()
    yield ""
    for name, is_trained in (("without training", False), ("about trained networks", True)):
        rows = [row for part in sections if part.is_trained == is_trained for row in part.rows]
        counts = Counter(results[id(row)][1] for row in rows)
        summary = [f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict]]
        yield f"* {len(rows)} numbers and claims {name}: {', '.join(summary)}."
    yield ""
    yield from _disagreements(sections, results)
    for section in sections:
        if section.part:
            yield f"## {section.part}"
            yield ""
        yield from _section(section, results)


def _disagreements(
    sections: Sequence[Section], results: Mapping[int, tuple[str, Verdict]]
) -> Iterator[str]:
    """The rows that do not agree, each with its reason."""
    yield "What does not agree:"
    yield ""
    for section in sections:
        for row in section.rows:
            ours, verdict = results[id(row)]
            if verdict == "no":
                because = f" ({row.reason})" if row.reason else ""
                numbers = f"published {row.published}, ours {ours}"
                yield f"* {row.what} ({section.title}): {numbers}{because}."
    yield ""


def _section(section: Section, results: Mapping[int, tuple[str, Verdict]]) -> Iterator[str]:
    yield f"### {section.title}"
    yield ""
    if section.commands:
        yield "```"
        yield from section.commands
        yield "```"
        yield ""
    yield f"Setting: {section.setting}."
    yield ""
    yield f"| {' | '.join(HEAD)} |"
    yield "|" + "---|" * len(HEAD)
    for row in section.rows:
        ours, verdict = results[id(row)]
        agreement = verdict
        if row.reason and verdict in ("no", "open", "not run"):
            agreement = f"{verdict}: {row.reason}"
        yield f"| {row.what} | {row.published} | {row.source} | {ours} | {agreement} |"
    yield ""


def read(path: Path) -> list[Section]:
    """The sections of published.yaml. Keys of a section are those of its rows that lack them."""
    sections = []
    for entry in yaml.safe_load(path.read_text())["sections"]:
        rows = [_row(row, entry) for row in entry["rows"]]
        commands = entry.get("commands", [])
        part = entry.get("part", "")
        is_trained = entry.get("trained", True)
        sections.append(Section(entry["title"], entry["setting"], commands, rows, part, is_trained))
    return sections


def _row(row: Mapping[str, Any], section: Mapping[str, Any]) -> Row:
    source = row.get("source", section.get("source"))
    if source is None:
        raise FidelityError(f"{row['what']}: has no source, nor has its section")
    rule = None
    if "ours" in row:
        shared = {"file": section["file"]} if "file" in section else {}
        rule = Rule(**{**shared, **row["ours"]})
    return Row(row["what"], str(row["published"]), source, rule, row.get("reason", ""))


def compare(row: Row) -> tuple[str, Verdict]:
    """Our value as text, and whether it agrees with the published one."""
    ours = find(row.ours) if row.ours else None
    if ours is None:
        return "", "not run"
    published = parse(row.published)
    return shown(ours, row.published, published.decimals), agreement(published, ours)


def parse(text: str) -> Published:
    """Read "0.2327", "1.4 to 1.5", "above 0", "yes" or "no".

    A number means all values that round to it.
    """
    if text in ("yes", "no"):
        value = float(text == "yes")
        return Published(value, value, False, None)
    for words in BOUNDS:
        if text.startswith(words):
            bound = _number(text.removeprefix(words).strip())
            is_lower = words in ("above", "at least")
            low, high = (bound, float("inf")) if is_lower else (float("-inf"), bound)
            return Published(low, high, True, None)
    numbers = text.split(" to ")
    margins = [0.5 * 10.0 ** -_decimals(number) for number in numbers]
    values = [_number(number) for number in numbers]
    decimals = max(_decimals(number) for number in numbers)
    return Published(values[0] - margins[0], values[-1] + margins[-1], False, decimals)


def _number(text: str) -> float:
    if not re.fullmatch(NUMBER, text):
        raise FidelityError(
            f"published: found {text!r}, expected a number, a range such as 1.4 to 1.5, yes, no, "
            f"or one of {', '.join(BOUNDS)} and a number"
        )
    return float(text.replace(",", ""))


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def agreement(published: Published, ours: Ours) -> Verdict:
    """Whether our interval overlaps the published values.

    For a claim the whole interval has to be inside; where a part is, the claim is open.
    """
    if ours.low > published.high or ours.high < published.low:
        return "no"
    is_inside = published.low <= ours.low and ours.high <= published.high
    return "open" if published.is_claim and not is_inside else "yes"


def shown(ours: Ours, published: str, decimals: int | None) -> str:
    """Our value to the published number of decimals; one more, and its interval, if it has one."""
    if published in ("yes", "no"):
        return "yes" if ours.value else "no"
    if ours.low == ours.high:
        return _rounded(ours.value, decimals)
    if decimals:
        decimals += 1
    low, high = _rounded(ours.low, decimals), _rounded(ours.high, decimals)
    return f"{_rounded(ours.value, decimals)} [{low}, {high}]"


def _rounded(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def find(rule: Rule) -> Ours | None:
    """The value that a rule names; None if its file or the value itself does not exist yet.

    Raises FidelityError if the file lacks what the rule names.
    """
    path = RESULTS / rule.file
    if not path.exists():
        return None
    rows = [_load(path)]
    for step in rule.at:
        rows = list(_step(rows, step, rule))
    if len(rows) == 1 and isinstance(rows[0], list):
        rows = rows[0]
    if len(rows) != 1 and rule.take is None:
        raise FidelityError(f"{rule.file}: {rule.at} chooses {len(rows)} rows, expected one")
    values = [_value(row, rule, rule.value) for row in rows]
    if any(value is None for value in values):
        return None
    numbers = [float(value) for value in values]
    if rule.take == "mean":
        return Ours(sum(numbers) / len(numbers), min(numbers), max(numbers))
    number = max(numbers) if rule.take == "greatest" else min(numbers)
    row = rows[numbers.index(number)]
    low = _value(row, rule, rule.low) if rule.low else number
    high = _value(row, rule, rule.high) if rule.high else number
    return Ours(number, float(low), float(high))


def _load(path: Path) -> Any:
    if path.suffix == ".json":
        return json.loads(path.read_text())
    with path.open(newline="") as file:
        return [{key: _cell(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _cell(text: str) -> Any:
    """An entry of a CSV table as a number, a truth value, a text, or None where it is empty."""
    if text in ("True", "False"):
        return text == "True"
    try:
        return float(text)
    except ValueError:
        return text or None


def _step(nodes: Sequence[Any], step: Any, rule: Rule) -> Iterator[Any]:
    """The entries of each node that a key, a position or a condition names."""
    for node in nodes:
        if isinstance(step, Mapping):
            yield from (entry for entry in node if _matches(entry, step))
            continue
        try:
            yield node[step]
        except (KeyError, IndexError, TypeError):
            raise FidelityError(f"{rule.file}: has no {step!r} of {list(rule.at)}") from None


def _matches(entry: Mapping[str, Any], condition: Mapping[str, Any]) -> bool:
    """Whether an entry has all values of a condition; numbers only to a thousandth."""
    for name, value in condition.items():
        if name not in entry or not _equals(entry[name], value):
            return False
    return True


def _equals(actual: Any, expected: Any) -> bool:
    if isinstance(expected, Mapping):
        return isinstance(actual, Mapping) and _matches(actual, expected)
    if isinstance(expected, float) and isinstance(actual, (int, float)):
        return math.isclose(actual, expected, rel_tol=1e-3)
    return bool(actual == expected)


def _value(row: Any, rule: Rule, key: str) -> Any:
    if key not in row:
        raise FidelityError(f"{rule.file}: has no {key!r}; it has {', '.join(map(str, row))}")
    return row[key]
