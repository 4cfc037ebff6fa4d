"""The measures of a sweep beside the trained cells that they measure.

A measuring sweep has cells of its own; `trainer.of` names the trained cell of each, and
`trainer.of_folder` the log folder of its sweep. If that folder has moved, the folder of the same
name beside the measuring sweep is read.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import store
from analysis.figure import options as figure_options
from analysis.figure import query
from analysis.figure.names import none_of, quantity
from analysis.figure.provenance import Source, diverged_cells, diverged_text, fill, origin
from analysis.landscape import labels
from analysis.stats import condition as grammar

OF, TO, BLOCK, FOLDER = "trainer.of", "trainer.to", "trainer.block", "trainer.of_folder"
WEIGHTS_AT = "trainer.weights_at"
PARTS = (OF, TO, BLOCK)
"""Settings in which the cells of one measure differ; figures put them together."""


@dataclass(frozen=True)
class Measures:
    """The cells of one measure, and the trained cells that they measure.

    folder: of the measuring sweep. cells: its runs table, planned cells included. trained: the
    runs table of the trained cells, by axis and seed. axes: columns in which the trained cells
    differ, apart from the seed. notes: on the selection. ends: as `trained`, with the other ends
    of lines.
    """

    folder: str
    cells: pd.DataFrame
    trained: pd.DataFrame
    axes: tuple[str, ...]
    ends: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def telling_axes(self) -> tuple[str, ...]:
        """The fewest columns that tell the trained cells and the other ends apart, without the
        seed.
        """
        return labels.telling(self.ends, _axes(self.ends))

    @property
    def finished(self) -> pd.DataFrame:
        """The measuring cells that are done."""
        return self.cells[self.cells["status"] == "done"]

    @property
    def diverged(self) -> tuple[str, ...]:
        """The measures, and the trained cells, whose loss was not finite."""
        return (*diverged_cells(self.cells), *diverged_cells(self.ends))

    def rows(self, *columns: str) -> pd.DataFrame:
        """The rows of the finished measures with the named metrics, epoch, step and `of`, the
        trained cell.
        """
        ids = dict(zip(self.finished["cell"].astype(str), self.finished[OF], strict=True))
        rows = store.curves(self.folder, ["epoch", "step", *columns], list(ids))
        return rows.assign(cell=rows["cell"].astype(str), of=rows["cell"].astype(str).map(ids))

    def setting(self, key: str) -> Any:
        """The value of a setting that all measures share; None if no record has it."""
        values = self.cells.get(key, pd.Series(dtype=object)).dropna()
        return None if values.empty else values.iloc[0]

    def _values(self, key: str) -> list[Any]:
        """The distinct values of a setting in order, as JSON has them, without null."""
        measured = self.cells[self.cells[key].notna()]
        values = query.sort(measured, [key])[key]
        return [labels.plain(value) for value in values[~query.as_text(values).duplicated()]]

    def batch_norm(self) -> str:
        """How batch norm was treated, for a caption; empty if no measured model has it."""
        rows = self.trained.to_dict("records")
        if not any(labels.has_batch_norm(row) for row in rows):
            return ""
        return f"batch norm: {self.setting('trainer.bn')}"

    def trained_table(self) -> pd.DataFrame:
        """A row for each trained cell: cell, the axes, seed, label."""
        table = self.trained[["cell", *self.axes, "seed"]].copy()
        table["label"] = [self.label(cell) for cell in table["cell"]]
        return table

    def label(self, cell: str) -> str:
        """What tells a trained cell from the others, without its seed."""
        (row,) = self.ends[self.ends["cell"] == cell].to_dict("records")
        return labels.point(row, self.telling_axes)

    def messages(self) -> list[str]:
        """The notes, what is not measured yet, and the command that completes it."""
        lines = [f"note: {note}" for note in self.notes]
        left = len(self.cells) - len(self.finished) - len(diverged_cells(self.cells))
        if left:
            are = "is" if left == 1 else "are"
            lines.append(f"{left} of {quantity(len(self.cells), 'measure')} {are} not done")
            lines.append(fill(self.folder))
        if self.diverged:
            lines.append(diverged_text(len(self.diverged)))
        return lines

    def record(self, options: argparse.Namespace, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The record beside the figure: `facts`, the settings, the measures and what they
        measure. A setting in which the measures differ is the list of its values.
        """
        settings: dict[str, Any] = {}
        for key in _settings(self.cells):
            values = self._values(key)
            settings[key] = values[0] if len(values) == 1 else values
        trained = []
        for row in self.trained.to_dict("records"):
            cell = str(row["cell"])
            cells = self.finished["cell"][self.finished[OF] == cell]
            point = {key: labels.plain(row.get(key)) for key in (*self.axes, "seed")}
            trained.append({"cell": cell, **point, "measures": sorted(cells.astype(str))})
        source = Source(self.cells, self.folder, self.notes)
        code = sorted(set(self.trained.get("code", pd.Series(dtype=str)).dropna()))
        return {
            **origin(source, options),
            **facts,
            "diverged": list(self.diverged),
            "settings": settings,
            "trained_code": code,
            "trained": trained,
        }


def load(
    folder: str, measure: str, where: Sequence[str] = (), free: Sequence[str] = ()
) -> Measures:
    """The cells of a measure in a log folder, joined to the trained cells.

    where: conditions on columns of the trained cells, or on settings of the measure. free: settings
    in which the measures may differ. Raises StoreError without logs, and FigureError if there are
    no such measures, or measures whose values cannot be compared.
    """
    runs = store.runs(folder)
    names = runs.get("trainer.name", pd.Series("", runs.index))
    cells = runs[names == measure]
    if cells.empty:
        trainers = ", ".join(sorted(set(names.dropna().astype(str))))
        elsewhere = _measured_beside(folder, runs, measure)
        raise query.FigureError(
            f"{folder}: no cells of trainer={measure}; found {trainers}{elsewhere}"
        )
    ends = _trained_runs(folder, cells)
    cells, trained = _where(cells, ends, where)
    _check_settings(cells, free)
    ends = ends[ends["cell"].isin([*cells[OF], *cells.get(TO, [])])]
    axes = _axes(trained)
    notes = _notes(trained)
    trained = query.sort(trained, [*axes, "seed"])
    return Measures(
        folder=folder,
        cells=cells.reset_index(drop=True),
        trained=trained,
        axes=axes,
        ends=ends,
        notes=notes,
    )


def _measured_beside(folder: str, runs: pd.DataFrame, measure: str) -> str:
    """Where trained cells are measured, for a message; empty if nowhere beside their folder."""
    folders = []
    for path, cells in measuring_beside(Path(folder), set(runs["cell"].astype(str))):
        if (cells["trainer.name"] == measure).any():
            folders.append(str(Path(folder).parent / path.name))
    return f"; its cells are measured in {', '.join(folders)}" if folders else ""


def measuring_beside(folder: Path, cells: Set[str]) -> Iterator[tuple[Path, pd.DataFrame]]:
    """The folders beside a log folder with measures of these trained cells, and their runs."""
    for path in sorted(folder.resolve().parent.iterdir()):
        if not path.is_dir() or path == folder.resolve():
            continue
        try:
            runs = store.runs(path)
        except store.StoreError:
            continue  # no logs
        if OF in runs and set(runs[OF].dropna()) & cells:
            yield path, runs


def measures_of(folder: str) -> set[str]:
    """The trainers of the cells in a log folder; StoreError without logs."""
    runs = store.runs(folder)
    return set(runs.get("trainer.name", pd.Series(dtype=str)).dropna().astype(str))


def _axes(trained: pd.DataFrame) -> tuple[str, ...]:
    """Columns in which trained cells differ, apart from the seed and when weights are kept."""
    return tuple(name for name in query.axes(trained) if name not in ("seed", WEIGHTS_AT))


def require_finished(measures: Measures) -> Measures:
    """The measures as they are; FigureError if none is done."""
    if measures.finished.empty and len(diverged_cells(measures.cells)) == len(measures.cells):
        raise query.FigureError(
            f"{none_of(len(measures.cells), 'chosen measure')} has a value; "
            f"{diverged_text(len(measures.cells))}"
        )
    if measures.finished.empty:
        statuses = ", ".join(sorted(set(measures.cells["status"].astype(str))))
        raise query.FigureError(
            f"{none_of(len(measures.cells), 'chosen measure')} is done yet (statuses: "
            f"{statuses}); wait, or `redescent resume {Path(measures.folder).resolve().name}`"
        )
    return measures


def _trained_runs(folder: str, cells: pd.DataFrame) -> pd.DataFrame:
    """The runs of all cells that are measured, ends of lines included."""
    ids = set(cells[OF].dropna())
    if TO in cells:
        ids |= set(cells[TO].dropna())
    tables = []
    for name in sorted(set(cells[FOLDER].dropna())):
        runs = store.runs(present(folder, str(name)))
        tables.append(runs[runs["cell"].isin(ids)])
    trained = pd.concat(tables, ignore_index=True).drop_duplicates("cell")
    lost = ids - set(trained["cell"])
    if lost:
        raise query.FigureError(
            f"{folder}: {quantity(len(lost), 'trained cell is', 'trained cells are')} in no "
            f"log, for example {min(lost)}; expected in "
            f"{', '.join(sorted(set(cells[FOLDER].dropna())))}"
        )
    return trained


def present(folder: str, name: str) -> Path:
    """The log folder of a trained sweep, or the one of its name beside the measuring sweep."""
    beside = Path(folder).resolve().parent / Path(name).name
    return beside if not Path(name).is_dir() and beside.is_dir() else Path(name)


def _where(
    cells: pd.DataFrame, trained: pd.DataFrame, conditions: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measures and trained cells that meet all conditions."""
    measured = trained[trained["cell"].isin(cells[OF])]
    for condition in conditions:
        if _is_of_trained(condition, trained):
            measured = query.where(measured, [condition])
            cells = cells[cells[OF].isin(measured["cell"])]
        else:
            cells = query.where(cells, [condition])
            measured = measured[measured["cell"].isin(cells[OF])]
    return cells, measured


def _is_of_trained(condition: str, trained: pd.DataFrame) -> bool:
    """Whether a condition chooses trained cells, and not measures; FigureError if it does both."""
    try:
        names = grammar.names(condition)
    except grammar.ConditionError:
        return False  # the choice of measures reports what is wrong with it
    of_trained = [name for name in names if name in trained and trained[name].notna().any()]
    of_measures = [name for name in names if name not in of_trained]
    if of_trained and of_measures:
        raise query.FigureError(
            f"--where {condition}: found keys of trained cells ({', '.join(of_trained)}) and of "
            f"measures ({', '.join(of_measures)}); expected one kind in a condition: give two"
        )
    return bool(of_trained)


def _settings(cells: pd.DataFrame) -> list[str]:
    """The settings of a measure that have a value."""
    names = [name for name in store.settings_of(cells) if name.startswith("trainer.")]
    return [name for name in names if name not in PARTS and cells[name].notna().any()]


def _check_settings(cells: pd.DataFrame, free: Sequence[str]) -> None:
    """FigureError if the measures differ in a setting, such as the cut or the batch norm."""
    differing = {}
    for name in _settings(cells):
        values = query.sorted_values(cells, name)
        if len(values) > 1 and name not in free:
            differing[name] = values
    if differing:
        name, values = next(iter(differing.items()))
        raise query.FigureError(
            "measures with different settings cannot be compared:\n"
            f"{query.listing(differing)}\n"
            f"choose one, for example --where {query.equality(name, values[0])}"
        )


def _notes(trained: pd.DataFrame) -> tuple[str, ...]:
    """What the reader should know of the trained cells."""
    open_cells = trained[trained["status"] != "done"]
    if open_cells.empty:
        return ()
    statuses = ", ".join(sorted(set(open_cells["status"].astype(str))))
    are = quantity(len(open_cells), "trained cell is", "trained cells are")
    return (f"{are} not done ({statuses})",)


def one_seed(measures: Measures) -> Measures:
    """One trained cell for each point of the axes: that of the lowest seed."""
    trained = measures.trained
    points = query.points(trained, measures.axes)
    first = trained.loc[~points.duplicated()]
    if len(first) == len(trained):
        return measures
    seeds = sorted(set(first["seed"]))
    shown = ", ".join(str(seed) for seed in seeds)
    count = trained["seed"].nunique()
    note = f"seed {shown} of {count} is drawn; --where seed=N draws another"
    cells = measures.cells[measures.cells[OF].isin(first["cell"])]
    kept = first.reset_index(drop=True)
    return replace(measures, cells=cells, trained=kept, notes=(*measures.notes, note))


def parser(
    doc: str | None, name: str, *, many: bool = False, is_page: bool = False
) -> argparse.ArgumentParser:
    """The options that every figure has: folder (or `many`: folders), --where, --out and --name,
    and those of pictures, unless the script writes a page.
    """
    folder = "log folder of a measuring sweep, logs/NAME"
    where = "take only these trained cells, or measures with this setting"
    options = figure_options.parser(doc, folder, where, many=many)
    if is_page:
        figure_options.add_files(options, name)
    else:
        figure_options.add(options, name)
    return options
