"""Tables of figures in the terminal: all columns within 80, or named."""

from __future__ import annotations

import pandas as pd

from analysis.figure.table_text import WIDTH, table_text

TABLE = pd.DataFrame({
    "data.label_noise.rate": [0.0, 0.2],
    "model.width": [4, 16],
    "n_seeds": [3, 3],
    "test_end_std": [0.123456, float("nan")],
})  # fmt: skip


def test_names_are_short_and_their_words_stand_above_one_another() -> None:
    assert table_text(TABLE).splitlines() == [
        "                      test",
        "                 n     end",
        "rate  width  seeds     std",
        "   0      4      3  0.1235",
        " 0.2     16      3       -",
    ]


def test_keys_with_one_last_part_keep_their_names() -> None:
    table = pd.DataFrame({"model.width": [1], "data.width": [2]})
    assert table_text(table).splitlines()[0] == "model.width  data.width"


def test_columns_that_do_not_fit_are_named() -> None:
    table = pd.DataFrame({f"column{number}": [number] for number in range(20)})
    *lines, rest = table_text(table).splitlines()
    assert max(map(len, lines)) <= WIDTH
    shown = lines[0].split()
    assert [*shown, *rest.removeprefix("in the CSV too: ").split(", ")] == list(table)
