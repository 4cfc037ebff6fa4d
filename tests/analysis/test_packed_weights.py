"""Files of weights: packed into shards without a loss, and read from both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.store import StoreError, weights


def save(folder: Path, *names: str) -> None:
    """Files of weights with arrays that differ."""
    (folder / "weights").mkdir(exist_ok=True)
    for number, name in enumerate(names):
        np.savez(folder / "weights" / name, layer=np.full(1000, number))


def values(folder: Path, name: str) -> int:
    return int(weights.load(folder, name)["layer"][0])


def test_files_of_finished_cells_become_members_of_a_shard(tmp_path: Path) -> None:
    save(tmp_path, "c1-a.npz", "c1-a.path.npz", "c1-b.npz", "c1-running.npz")
    before = weights.names(tmp_path)
    assert weights.pack(tmp_path, {"c1-a", "c1-b"}, least_files=2) == 3
    files = sorted(path.name for path in (tmp_path / "weights").iterdir())
    assert files == ["c1-running.npz", "shard-000001.zip"]
    assert weights.names(tmp_path) == before
    assert [values(tmp_path, name) for name in sorted(before)] == [0, 1, 2, 3]


def test_a_shard_is_no_larger_than_asked(tmp_path: Path) -> None:
    save(tmp_path, "c1-a.npz", "c1-b.npz", "c1-c.npz")
    size = (tmp_path / "weights" / "c1-a.npz").stat().st_size
    weights.pack(tmp_path, {"c1-a", "c1-b", "c1-c"}, shard_bytes=2 * size, least_files=2)
    shards = sorted((tmp_path / "weights").iterdir())
    assert [path.name for path in shards] == ["shard-000001.zip", "shard-000002.zip"]
    assert values(tmp_path, "c1-c.npz") == 2


def test_few_files_stay_plain(tmp_path: Path) -> None:
    save(tmp_path, "c1-a.npz", "c1-b.npz")
    assert weights.pack(tmp_path, {"c1-a", "c1-b"}) == 0
    assert (tmp_path / "weights" / "c1-a.npz").exists()


def test_a_file_beside_a_shard_is_newer_than_its_member(tmp_path: Path) -> None:
    save(tmp_path, "c1-a.npz", "c1-b.npz")
    weights.pack(tmp_path, {"c1-a", "c1-b"}, least_files=2)
    save(tmp_path, "c1-b.npz")
    assert values(tmp_path, "c1-b.npz") == 0
    save(tmp_path, "c1-a.npz", "c1-b.npz")
    weights.pack(tmp_path, {"c1-a", "c1-b"}, least_files=2)
    assert len(list((tmp_path / "weights").iterdir())) == 2
    assert values(tmp_path, "c1-a.npz") == 0


def test_nothing_is_removed_if_the_shard_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, "c1-a.npz", "c1-b.npz")
    write = weights._write

    def swapped(shard: Path, paths: list[Path]) -> None:
        write(shard, paths)
        save(tmp_path, "c1-b.npz")

    monkeypatch.setattr(weights, "_write", swapped)
    with pytest.raises(StoreError, match=r"c1-b\.npz differs"):
        weights.pack(tmp_path, {"c1-a", "c1-b"}, least_files=2)
    assert {path.name for path in (tmp_path / "weights").glob("*.npz")} == {"c1-a.npz", "c1-b.npz"}


@pytest.mark.parametrize("name", ["c1-a.npz", "shard-000001.zip"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    save(tmp_path, "c1-a.npz", "c1-b.npz")
    if name.startswith("shard"):
        weights.pack(tmp_path, {"c1-a", "c1-b"}, least_files=2)
    path = tmp_path / "weights" / name
    path.write_bytes(path.read_bytes()[:-700])
    with pytest.raises(StoreError, match="not a whole"):
        weights.load(tmp_path, "c1-a.npz")


def test_weights_that_nobody_kept_are_no_file(tmp_path: Path) -> None:
    assert weights.names(tmp_path) == frozenset()
    with pytest.raises(FileNotFoundError):
        weights.load(tmp_path, "c1-a.npz")
