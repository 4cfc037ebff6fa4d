"""The searches of a sweep as text, for the terminal and the report."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from analysis.stats.threshold import Estimate
from launch.errors import quantity
from launch.plan.identity import cell_arguments, short_id
from launch.submit.rounds import Standing
from launch.sweep.adaptive import SearchState, TrialCell, expected_trainings, settings_of

_FINISHED: Mapping[str, str] = {
    "converged": "converged",
    "most": "out of trainings",
    "above": "maybe above range",
    "below": "maybe below range",
    "exhausted": "no training left",
}


def expectation_rows(searches: Sequence[SearchState]) -> list[tuple[str, str]]:
    """What `plan` shows of the searches, as (name, value): how many, and trainings to expect."""
    if not searches:
        return []
    numbers = [expected_trainings(settings_of(state.search)) for state in searches]
    usual = sum(number for number, _ in numbers)
    most = sum(number for _, number in numbers)
    per_search = ""
    if len(searches) > 1 and len(set(numbers)) == 1:
        per_search = f" (each {numbers[0][0]} usual, {numbers[0][1]} at most)"
    axes = ", ".join(dict.fromkeys(state.search.axis for state in searches))
    trained = sum(state.trained for state in searches)
    return [
        ("searches", f"{len(searches)} along {axes}"),
        ("  trainings", f"{usual} usual, {most} at most{per_search}; {trained} so far"),
        ("  first values", _first_values(searches)),
    ]


def _first_values(searches: Sequence[SearchState]) -> str:
    """The values of the first round; where the searches differ, those of the first search."""
    rounds = []
    for state in searches:
        first = [training.trial for training in state.trials if training.round == 1]
        rounds.append(sorted({trial.value for trial in first}))
    text = ", ".join(f"{value:g}" for value in rounds[0])
    return text if all(values == rounds[0] for values in rounds) else f"{text} in the first search"


def search_kind(standing: Standing, *, live: bool) -> str:
    """The state of a search in words that many searches share."""
    if standing.state.finished:
        return _FINISHED[standing.state.finished]
    if standing.held:
        return "held"
    if standing.unsent:
        return "next round follows" if live else "next round not sent"
    return "trains"


def state_text(standing: Standing, *, live: bool) -> str:
    """The state of one search, with the cell that holds it."""
    kind = search_kind(standing, live=live)
    if kind != "held":
        return kind
    more = f" and {len(standing.held) - 1} more" if len(standing.held) > 1 else ""
    return f"held by {short_id(standing.held[0])}{more}"


def estimate_text(estimate: Estimate) -> str:
    """The estimate with its interval; for a censored one the bound, empty without outcomes."""
    if estimate.bound is not None:
        sign = ">" if estimate.high is None else "<"
        return f"{sign} {estimate.bound:.4g}"
    if estimate.n50 is None:
        return ""
    return f"{estimate.n50:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"


def trial_text(standings: Sequence[Standing], cell: str) -> str | None:
    """What a cell is to the searches of its sweep; None if it is no trial of any."""
    for standing in standings:
        for training in standing.state.trials:
            if training.cell.id == cell:
                is_valueless = cell in standing.valueless and not standing.unknown
                return _training_text(training, standing.state, is_valueless=is_valueless)
    return None


def _training_text(training: TrialCell, state: SearchState, *, is_valueless: bool) -> str:
    outcome = {True: "success", False: "no success", None: "no outcome yet"}[training.success]
    if is_valueless:
        outcome = "no outcome, because its row lacks a value that `success` needs"
    return (
        f"{state.search.axis}={training.trial.value:g} in round {training.round} of "
        f"{state.rounds}: {outcome}; the search has "
        f"{estimate_text(state.estimate) or 'no estimate yet'}"
    )


def advice(
    standings: Sequence[Standing], name: str, *, live: bool, held_back: bool = False
) -> list[str]:
    """What the user can do about searches that do not go on by themselves.

    `held_back`: failed cells of the sweep share an error, so that `resume` sends nothing.
    """
    command = f"`redescent resume {name}{' --retry-errors' if held_back else ''}`"
    lines = []
    unknown = {}
    for standing in standings:
        if standing.unknown:
            unknown[standing.search.success] = standing.unknown
    for success, columns in unknown.items():
        lines.append(
            f"search.success {success!r}: the runs table has no column {columns[0]!r}; correct it "
            "in the sweep file and submit again: the trainings so far count"
        )
    known = [standing for standing in standings if not standing.unknown]
    ended = [(standing, set(standing.held) - set(standing.valueless)) for standing in known]
    lines += _holding(ended, name, "without an outcome", f"{command} sends them again")
    valueless = [(standing, set(standing.valueless)) for standing in known]
    reason = "done without a value that `success` needs"
    lines += _holding(valueless, name, reason, valueless_advice(name))
    unsent = [standing for standing in standings if standing.unsent and not standing.held]
    if unsent and not live:
        searches = quantity(len(unsent), "search", "searches")
        lines.append(
            f"the next round of {searches} was not sent yet; if no job sends it, {command} does"
        )
    return lines


def _holding(
    cells_by_search: Sequence[tuple[Standing, Collection[str]]], name: str, reason: str, hint: str
) -> list[str]:
    """The line about cells that hold searches for one reason; none where there are no cells."""
    holding = [(standing, cells) for standing, cells in cells_by_search if cells]
    if not holding:
        return []
    cells = {cell for _, some in holding for cell in some}
    first = next(cell for cell in holding[0][0].held if cell in holding[0][1])
    verb = "hold" if len(cells) > 1 else "holds"
    searches = quantity(len(holding), "search", "searches")
    return [
        f"{quantity(len(cells), 'cell')} {reason} {verb} {searches}: see "
        f"`redescent why {cell_arguments(first, name)}`; {hint}"
    ]


def valueless_advice(name: str) -> str:
    """What the user can do about trainings whose results lack a value of the condition."""
    return (
        "correct `search.success`, or the trainer, and train them again with "
        f"`redescent submit {name} --again`"
    )


def short_names(keys: Sequence[str]) -> list[str]:
    """The part of each key after its last dot; the whole key where another ends alike."""
    words = [key.rpartition(".")[2] for key in keys]
    return [word if words.count(word) == 1 else key for key, word in zip(keys, words, strict=True)]


def varying_keys(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that tell the points apart, without those that follow from other keys."""
    names = {key for point in points for key in point if not key.startswith("run.")}
    by_kind = sorted(names, key=lambda key: (not key.endswith(".name"), key))
    keys: list[str] = []
    groups = {"": list(points)}
    for key in by_kind:
        refined = _split(groups, key)
        if len(refined) > len(groups):
            keys.append(key)
            groups = refined
    return keys or ["model.name"]


def _split(
    groups: Mapping[str, Sequence[Mapping[str, Any]]], key: str
) -> dict[str, list[Mapping[str, Any]]]:
    """Each group of points split by their value of a key."""
    refined: dict[str, list[Mapping[str, Any]]] = {}
    for name, points in groups.items():
        for point in points:
            refined.setdefault(f"{name}\0{point.get(key)!r}", []).append(point)
    return refined
