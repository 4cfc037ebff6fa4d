"""Kept weights: what is written is read back, and what does not belong is refused."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trainers import weights
from trainers.snapshots import Snapshots
from trainers.weights import Evaluated, NotTrainedError, Owner, Snapshot, WeightsError

OWNER = Owner("c1-a", "0123456789abcdef", "c0de")


def snapshot(epoch: int) -> Snapshot:
    arrays = {"a.weight": np.full((2, 3), epoch, np.float32), "a.count": np.array(epoch)}
    return Snapshot(epoch, Evaluated(0.5 * epoch, epoch), arrays)


def assert_same(one: Snapshot, other: Snapshot) -> None:
    assert (one.epoch, one.result) == (other.epoch, other.result)
    assert set(one.arrays) == set(other.arrays)
    for name, value in one.arrays.items():
        np.testing.assert_array_equal(value, other.arrays[name])


def test_final_weights_are_read_as_they_were_written(tmp_path: Path) -> None:
    weights.write_final(tmp_path, OWNER, snapshot(7))
    owner, read = weights.read(tmp_path, "c1-a", "final")
    assert owner == OWNER
    assert_same(read, snapshot(7))


def test_every_snapshot_is_read_by_its_epoch(tmp_path: Path) -> None:
    weights.write_path(tmp_path, OWNER, [snapshot(epoch) for epoch in (0, 3, 10)])
    assert_same(weights.read(tmp_path, "c1-a", 3)[1], snapshot(3))
    assert [s.epoch for s in weights.read_path(tmp_path, "c1-a")[1]] == [0, 3, 10]
    with pytest.raises(WeightsError, match=r"snapshots of the epochs \[0, 3, 10\].*epoch 4"):
        weights.read(tmp_path, "c1-a", 4)


def test_weights_are_read_from_a_shard_too(tmp_path: Path) -> None:
    weights.write_final(tmp_path, OWNER, snapshot(7))
    with zipfile.ZipFile(tmp_path / "shard-000001.zip", "w") as shard:
        shard.write(tmp_path / "c1-a.npz", "c1-a.npz")
    (tmp_path / "c1-a.npz").unlink()
    assert_same(weights.read(tmp_path, "c1-a", "final")[1], snapshot(7))


def test_weights_that_are_not_there_are_not_trained(tmp_path: Path) -> None:
    with pytest.raises(NotTrainedError, match=r"c1-a\.npz does not exist: its cell has not"):
        weights.read(tmp_path, "c1-a", "final")
    with pytest.raises(NotTrainedError, match=r"c1-a\.path\.npz does not exist"):
        weights.read(tmp_path, "c1-a", 3)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(7).tobytes())] ^= 1
    path.write_bytes(bytes(content))


def change_a_value(path: Path) -> None:
    """A whole zip file, written anew with another number in it."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["a.weight"] = arrays["a.weight"] + 1
    np.savez(path, **arrays)


def pickle_something(path: Path) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **{**arrays, "a.weight": np.array([print], dtype=object)})


def empty(path: Path) -> None:
    path.write_bytes(b"")


def make_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = (
    truncate, flip_a_byte, change_a_value, pickle_something, empty, make_a_pipe, make_a_folder,
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    weights.write_final(tmp_path, OWNER, snapshot(7))
    damage(tmp_path / "c1-a.npz")
    with pytest.raises(WeightsError, match=r"c1-a\.npz: found a damaged file .*train the cell"):
        weights.read(tmp_path, "c1-a", "final")


def test_the_file_of_another_cell_is_refused(tmp_path: Path) -> None:
    weights.write_final(tmp_path, OWNER, snapshot(7))
    (tmp_path / "c1-a.npz").rename(tmp_path / "c1-b.npz")
    with pytest.raises(WeightsError, match="weights of cell c1-a, expected those of c1-b"):
        weights.read(tmp_path, "c1-b", "final")


def test_a_file_without_an_owner_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "c1-a.npz", weight=np.zeros(3))
    with pytest.raises(WeightsError, match="found no __cell__"):
        weights.read(tmp_path, "c1-a", "final")


def test_snapshots_that_would_take_too_much_are_refused_before_the_training() -> None:
    model = nn.Linear(1000, 1000)
    with pytest.raises(WeightsError, match=r"100 snapshots of cell c1-a would take 382 MB"):
        Snapshots(OWNER, set(range(100)), 99, model)


def test_snapshots_survive_a_checkpoint(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)
    kept = Snapshots(OWNER, [1, 2, 9], 5, model)
    assert [epoch for epoch in range(10) if kept.due(epoch)] == [1, 2]
    kept.add(1, Evaluated(0.5, 3))
    with torch.no_grad():
        model.weight.add_(1)
    resumed = Snapshots(OWNER, [1, 2, 9], 5, model)
    resumed.load(kept.state())
    resumed.add(2, Evaluated(0.25, 1))
    resumed.write(tmp_path, 5, Evaluated(0.125, 0))
    _, (first, second) = weights.read_path(tmp_path, "c1-a")
    np.testing.assert_allclose(second.arrays["weight"], first.arrays["weight"] + 1)
    assert (first.result, second.result) == (Evaluated(0.5, 3), Evaluated(0.25, 1))
    assert weights.read(tmp_path, "c1-a", "final")[1].result == Evaluated(0.125, 0)
