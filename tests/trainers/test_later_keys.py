"""Keys added after results existed: filled in where a stored configuration lacks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest

from trainers.config import ConfigError, later, reader
from trainers.noop import METRICS
from trainers.run import Run


@pytest.fixture(autouse=True)
def later_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key of a part of the network, beside `mlp.activation`, which came later too."""
    monkeypatch.setitem(later.LATER_KEYS, ("mlp", "shape.skip"), 2)


@dataclass(frozen=True)
class Shape:
    skip: int


@dataclass(frozen=True)
class Mlp:
    name: Literal["mlp"]
    width: int
    activation: Literal["relu", "tanh"]
    shape: Shape


@dataclass(frozen=True)
class Gated:
    name: Literal["gated"]
    activation: Literal["relu", "gelu"]


@dataclass(frozen=True)
class Cell:
    model: Mlp | Gated


def test_the_reader_fills_in_a_later_key_that_is_missing() -> None:
    cell = reader.read(Cell, {"model.name": "mlp", "model.width": 4})
    assert cell.model == Mlp("mlp", 4, "relu", Shape(2))


def test_the_reader_keeps_a_later_key_that_is_set() -> None:
    flat = {"model.name": "mlp", "model.width": 4, "model.activation": "tanh"}
    assert reader.read(Cell, flat).model.activation == "tanh"


def test_what_the_reader_filled_in_is_part_of_the_flat_configuration() -> None:
    flat = reader.flatten(reader.read(Cell, {"model.name": "mlp", "model.width": 4}))
    assert flat["model.activation"] == "relu"
    assert flat["model.shape.skip"] == 2


def test_a_key_of_the_same_name_in_another_kind_is_not_filled_in() -> None:
    with pytest.raises(ConfigError, match=r"model\.activation: missing"):
        reader.read(Cell, {"model.name": "gated"})


def test_a_key_that_is_in_no_table_is_still_missed() -> None:
    with pytest.raises(ConfigError, match=r"model\.width: missing"):
        reader.read(Cell, {"model.name": "mlp"})


def test_a_record_of_a_plan_without_a_later_key_has_it(
    begin: Callable[..., Run], flat: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(later.LATER_KEYS, ("digits", "classes"), 10)
    run = begin(METRICS)
    run.log(epoch=0, step=0, examples=0, progress=0.0)
    run.close("done")
    path = run.part.folder / "runs" / f"{run.part.writer}.parquet"
    assert pq.ParquetFile(path).read().to_pylist()[0]["data.classes"] == 10
