"""Image sets: every source gives the same arrays, damage is named, the cache is shared, subsets are
balanced.
"""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import functools
import gc
import hashlib
import http.server
import io
import itertools
import logging
import os
import pickle
import subprocess
import sys
import tarfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from trainers.config import CIFAR10, ConfigError, Digits, LabelNoise
from trainers.data import cifar10, digits, pickled
from trainers.data.augment import channel_statistics
from trainers.data.images import DataError, ImageSet, load, select
from trainers.data.images32 import Split

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data" / "cifar10"
TRAIN, TEST = 50, 20
FIELDS = ("train_images", "train_labels", "test_images", "test_labels")
NOISE = LabelNoise("incorrect", 0.0, None, "floor")

Arrays = tuple[np.ndarray, np.ndarray]


def cifar(root: Path | str | None, cache: Path, **changes: Any) -> CIFAR10:
    where = str(root) if root else None
    plain = CIFAR10(
        "cifar10",
        where,
        False,
        str(cache),
        (TRAIN, TEST),
        None,
        None,
        None,
        1,
        True,
        "unit",
        "real",
        None,
        NOISE,
    )
    return dataclasses.replace(plain, **changes)


def digits_config(cache: Path, **changes: Any) -> Digits:
    return dataclasses.replace(
        Digits("digits", str(cache), None, None, False, "unit", "real", None, NOISE), **changes
    )


def random_arrays(n: int, seed: int) -> Arrays:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8), np.arange(n) % 10


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(buffer, "PNG")
    return buffer.getvalue()


def write_parquet(path: Path, images: list[bytes | None], labels: Any, column: str = "img") -> None:
    cells = [{"bytes": data, "path": None} for data in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({column: pa.array(cells, kind), "label": pa.array(labels)}), path)


def parquet(folder: Path, column: str = "img") -> Path:
    (train, train_labels), (test, test_labels) = random_arrays(TRAIN, 0), random_arrays(TEST, 1)
    half = TRAIN // 2
    for shard, part in enumerate((slice(0, half), slice(half, TRAIN))):
        name = f"train-0000{shard}-of-00002.parquet"
        write_parquet(
            folder / name, [png(image) for image in train[part]], train_labels[part], column
        )
    write_parquet(
        folder / "test-00000-of-00001.parquet", [png(image) for image in test], test_labels, column
    )
    return folder


def batch_files(protocol: int = 2) -> dict[str, bytes]:
    (train, train_labels), (test, test_labels) = random_arrays(TRAIN, 0), random_arrays(TEST, 1)
    parts = dict(zip(cifar10.TRAIN_BATCHES, np.split(np.arange(TRAIN), 5), strict=True))
    files = {name: batch(train[part], train_labels[part], protocol) for name, part in parts.items()}
    return files | {
        "test_batch": batch(test, test_labels, protocol),
        "batches.meta": b"",
        "readme.html": b"",
    }


def batch(images: np.ndarray, labels: np.ndarray, protocol: int = 2) -> bytes:
    content = {
        b"data": images.reshape(len(images), -1),
        b"labels": labels.tolist(),
        b"batch_label": b"one",
    }
    return pickle.dumps(content, protocol)


def batches(folder: Path, protocol: int = 2) -> Path:
    (folder / cifar10.FOLDER).mkdir(parents=True)
    for name, data in batch_files(protocol).items():
        (folder / cifar10.FOLDER / name).write_bytes(data)
    return folder


def archive(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / cifar10.ARCHIVE, "w:gz") as tar:
        for name, data in batch_files().items():
            member = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return folder


def assert_is_made_set(images: ImageSet) -> None:
    for result, expected in zip(
        (getattr(images, name) for name in FIELDS),
        (*random_arrays(TRAIN, 0), *random_arrays(TEST, 1)),
        strict=True,
    ):
        np.testing.assert_array_equal(result.numpy(), expected)
    assert [getattr(images, name).dtype for name in FIELDS] == [torch.uint8, torch.int64] * 2


# Sources


def test_every_source_gives_the_same_set(tmp_path: Path) -> None:
    roots = [
        parquet(tmp_path / "parquet"),
        parquet(tmp_path / "parquet with other column", "image"),
        batches(tmp_path / "batches"),
        batches(tmp_path / "inside") / cifar10.FOLDER,
        batches(tmp_path / "protocol5", 5),
        archive(tmp_path / "archive"),
        archive(tmp_path / "file") / cifar10.ARCHIVE,
    ]
    sets = [
        load(cifar(root, tmp_path / "cache" / str(number))) for number, root in enumerate(roots)
    ]
    for images in sets:
        assert_is_made_set(images)
    assert len({images.content_hash for images in sets}) == 1
    assert [
        len(list((tmp_path / "cache" / str(number)).glob("*.pt"))) for number in range(len(roots))
    ] == [1] * 7


def test_a_batch_written_by_python_2_is_read(tmp_path: Path) -> None:
    """The official files name numpy.core and hold Python 2 texts, which newer writers no longer
    produce.
    """
    dtype = (
        b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN"
        + 2 * b"J\xff\xff\xff\xff"
        + b"K\x00tb"
    )
    state = b"(K\x01K\x01M\x00\x0c\x86" + dtype + b"\x89T"
    pixels = (np.arange(3072) % 256).astype(np.uint8).tobytes()
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR" + state
    array += len(pixels).to_bytes(4, "little") + pixels + b"tb"
    content = b"\x80\x02}(U\x04data" + array + b"U\x06labels](K\x03eU\x0bbatch_labelU\x03oneu."
    folder = batches(tmp_path / "old")
    for name in cifar10.BATCHES:
        (folder / cifar10.FOLDER / name).write_bytes(content)
    images = load(cifar(folder, tmp_path / "cache", source_rows=(5, 1)))
    assert images.train_images.flatten(1).tolist() == [list(pixels)] * 5
    assert images.test_labels.tolist() == [3]


def test_home_is_expanded_in_root_and_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    parquet(tmp_path / "data")
    assert_is_made_set(load(cifar("~/data", Path("~/cache"))))
    assert list((tmp_path / "cache").glob("cifar10-*.pt"))


def test_real_images_have_the_published_channel_means(tmp_path: Path) -> None:
    if not (REAL / "train-00000-of-00001.parquet").exists():
        pytest.skip(f"the real CIFAR-10 is not at {REAL}")
    some = tmp_path / "some"
    some.mkdir()
    for split, count in (("train", 10_000), ("test", 100)):  # all 60,000 take ten seconds
        name = f"{split}-00000-of-00001.parquet"
        pq.write_table(pq.read_table(REAL / name).slice(0, count), some / name)
    images = load(cifar(some, tmp_path, source_rows=(10_000, 100)))
    mean, deviation = channel_statistics(images.train_images)
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], atol=4e-3)
    np.testing.assert_allclose(deviation, [0.2470, 0.2435, 0.2616], atol=4e-3)
    for split, count in (("train", 5000), ("test", 1000)):
        labels = pq.read_table(REAL / f"{split}-00000-of-00001.parquet", columns=["label"])
        assert np.bincount(labels["label"].to_numpy()).tolist() == [count] * 10


def test_digits_are_split_by_position_in_their_class(tmp_path: Path) -> None:
    images = load(digits_config(tmp_path))
    assert images.train_images.shape == (999, 1, 8, 8)
    assert images.test_images.shape == (798, 1, 8, 8)
    assert torch.bincount(images.train_labels).tolist() == [
        99,
        101,
        98,
        102,
        101,
        101,
        101,
        99,
        97,
        100,
    ]
    assert torch.bincount(images.test_labels).tolist() == [79, 81, 79, 81, 80, 81, 80, 80, 77, 80]
    values = np.unique(torch.cat([images.train_images, images.test_images])).tolist()
    assert values == [v * 255 // 16 for v in range(17)]
    assert load(digits_config(tmp_path)).content_hash == images.content_hash
    assert len(list(tmp_path.glob("digits-*.pt"))) == 1


# What is refused


def refuse(config: CIFAR10, *expected: str) -> None:
    with pytest.raises(DataError) as error:
        load(config)
    for text in expected:
        assert text in str(error.value)
    assert not list(Path(config.cache).glob("*.pt"))


def test_no_root_and_no_download_says_what_to_set(tmp_path: Path) -> None:
    refuse(cifar(None, tmp_path), "found data.root=null", "data.root=DIR", "data.download=true")


def test_missing_and_unknown_folders_are_named(tmp_path: Path) -> None:
    missing, unknown, empty = tmp_path / "missing", tmp_path / "unknown", tmp_path / "empty"
    for folder in (unknown, empty):
        folder.mkdir()
    (unknown / "ci-train-5000.parquet").touch()
    refuse(cifar(missing, tmp_path), str(missing), "no such folder", "data.root=DIR")
    refuse(
        cifar(unknown, tmp_path),
        str(unknown),
        "ci-train-5000.parquet",
        "train-*.parquet",
        "data.root=DIR",
    )
    refuse(cifar(empty, tmp_path), str(empty), "an empty folder", "data.root=DIR")


def test_another_number_of_rows_is_refused_also_from_the_cache(tmp_path: Path) -> None:
    root = parquet(tmp_path / "data")
    config = cifar(root, tmp_path / "cache", source_rows=(50_000, 10_000))
    for _ in range(2):
        with pytest.raises(
            DataError,
            match=r"found 50 training and 20 test images, expected 50000 and 10000.*source_rows",
        ):
            load(config)
    assert_is_made_set(load(cifar(root, tmp_path / "cache")))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "data") / "train-00001-of-00002.parquet"
    truncate(path)
    refuse(
        cifar(path.parent, tmp_path), str(path), "expected a complete Parquet file", "data.root=DIR"
    )


def test_a_truncated_or_foreign_archive_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "data") / cifar10.ARCHIVE
    truncate(path)
    refuse(cifar(path, tmp_path), str(path), "expected the complete", "data.root=DIR")
    path.write_bytes(b"<html>not found</html>")
    refuse(cifar(path.parent, tmp_path), str(path), "expected the complete", "data.root=DIR")


def test_an_archive_without_batches_is_named(tmp_path: Path) -> None:
    path = tmp_path / "empty.tar.gz"
    tarfile.open(path, "w:gz").close()
    refuse(cifar(path, tmp_path), str(path), "found no data_batch_1", "test_batch")


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    root = batches(tmp_path / "data")
    (root / cifar10.FOLDER / "data_batch_4").unlink()
    refuse(cifar(root, tmp_path), "data_batch_4: found no such file", "test_batch", "data.root=DIR")


GOOD = png(random_arrays(1, 0)[0][0])
BAD_CELLS: list[tuple[bytes | None, str]] = [
    (b"no image", "expected a PNG or JPEG image"),
    (GOOD[: len(GOOD) // 2], "expected a PNG or JPEG image"),
    (GOOD[:200] + b"\0" * 50 + GOOD[250:], "expected a PNG or JPEG image"),
    (png(np.zeros((3, 28, 30), np.uint8)), "found an image of 30x28 in row 1, expected 32x32"),
    (None, "found no image bytes in row 1"),
]


@pytest.mark.parametrize(
    ("data", "message"), BAD_CELLS, ids=["text", "truncated", "damaged", "size", "null"]
)
def test_a_bad_image_is_named_with_its_row(
    tmp_path: Path, data: bytes | None, message: str
) -> None:
    path = parquet(tmp_path / "data") / "test-00000-of-00001.parquet"
    write_parquet(path, [GOOD, data], [0, 1])
    refuse(cifar(path.parent, tmp_path), str(path), "row 1", message, "data.root=DIR")


@pytest.mark.parametrize(
    ("labels", "result"),
    [([0, 10], "10"), ([0, -1], "-1"), ([0, None], "None"), (["a", "b"], "'a'")],
)
def test_a_bad_label_in_parquet_is_named_with_its_row(
    tmp_path: Path, labels: list[Any], result: str
) -> None:
    path = parquet(tmp_path / "data") / "test-00000-of-00001.parquet"
    write_parquet(path, [GOOD, GOOD], labels)
    refuse(
        cifar(path.parent, tmp_path),
        str(path),
        f"found label {result} in row",
        "0 to 9",
        "data.root=DIR",
    )


def test_other_columns_in_parquet_are_named(tmp_path: Path) -> None:
    path = parquet(tmp_path / "data", "picture") / "train-00000-of-00002.parquet"
    refuse(
        cifar(path.parent, tmp_path),
        str(path),
        "found columns picture, label",
        "expected img and label",
    )


IMAGES, NUMBERS = random_arrays(10, 0)
BAD_BATCHES: list[tuple[bytes, str]] = [
    (batch(IMAGES, NUMBERS + 1), "found label 10 in row 9"),
    (batch(IMAGES[:, :, :16], NUMBERS), "expected uint8 (n, 3072)"),
    (batch(IMAGES.astype(float), NUMBERS), "expected uint8 (n, 3072)"),
    (batch(IMAGES, NUMBERS[:5]), "expected uint8 (n, 3072) and n integers"),
    (batch(IMAGES, NUMBERS / 2), "and n integers"),
    (batch(IMAGES, NUMBERS)[:5000], "expected a CIFAR-10 python batch"),
    (pickle.dumps({b"data": IMAGES}), "found no b'labels'"),
    (pickle.dumps([1, 2]), "expected a CIFAR-10 python batch"),
    (b"text", "expected a CIFAR-10 python batch"),
]


@pytest.mark.parametrize(
    ("data", "message"), BAD_BATCHES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_bad_batch_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = batches(tmp_path / "data") / cifar10.FOLDER / "data_batch_3"
    path.write_bytes(data)
    refuse(cifar(path.parent, tmp_path), str(path), message, "data.root=DIR")


class Hostile:
    """Runs a call of its choice when it is unpickled without care."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    "call", [os.system, eval, getattr, functools.partial, np.load], ids=lambda call: call.__name__
)
def test_a_pickle_that_asks_for_code_is_refused_and_not_run(
    tmp_path: Path, call: Callable[..., Any], protocol: int
) -> None:
    witness = tmp_path / "witness"
    path = batches(tmp_path / "data") / cifar10.FOLDER / "test_batch"
    path.write_bytes(
        pickle.dumps({b"data": Hostile(call, f"touch {witness}"), b"labels": []}, protocol)
    )
    refuse(cifar(path.parent, tmp_path), str(path), "a request for", call.__name__)
    assert not witness.exists()


OBJECTS = b"cnumpy\nndarray\n((I4\ntcnumpy\ndtype\n(S'O'\ntRC\x20" + b"A" * 32 + b"tR"
RAW = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntC\x01btR"


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x03cnumpy\nndarray\n(" + OBJECTS + b"tR.",
        b"\x80\x03" + OBJECTS + b".",
        b"\x80\x03" + RAW + b"(I1\n(I4\ntcnumpy\ndtype\n(S'O'\ntRI00\nC\x20" + b"A" * 32 + b"tb.",
        b"\x80\x03" + RAW + b"(I1\n(I4\ntcnumpy\ndtype\n(S'u1'\ntRI00\nC\x20" + b"A" * 32 + b"tb.",
        b"\x80\x03" + RAW + b".",
    ],
    ids=["array over an array", "array of objects", "state of objects", "wrong size", "no state"],
)
def test_an_array_that_would_read_other_memory_is_refused(tmp_path: Path, content: bytes) -> None:
    value = content.removeprefix(b"\x80\x03").removesuffix(b".")
    batch_of = {"data": b"C\x04data" + value, "labels": b"C\x06labels" + value}
    for name, entry in batch_of.items():
        rest = b"C\x06labels]" if name == "data" else b"C\x04dataC\x00"
        path = batches(tmp_path / name) / cifar10.FOLDER / "data_batch_1"
        path.write_bytes(b"\x80\x03}(" + entry + rest + b"u.")
        refuse(cifar(path.parent, tmp_path), str(path), "expected", "data.root=DIR")


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path: Path) -> None:
    folder = batches(tmp_path / "data") / cifar10.FOLDER
    for make in (os.mkdir, os.mkfifo):
        path = folder / "data_batch_2"
        path.unlink() if path.is_file() else path.rmdir()
        make(path)
        refuse(cifar(folder, tmp_path), str(path), "found no regular file")
    pipes = tmp_path / "pipes"
    pipes.mkdir()
    for name in ("train-0.parquet", "test-0.parquet"):
        os.mkfifo(pipes / name)
    refuse(cifar(pipes, tmp_path), str(pipes), "train-0.parquet", "expected train-*.parquet")


def test_a_link_in_an_archive_is_no_batch(tmp_path: Path) -> None:
    path = tmp_path / cifar10.ARCHIVE
    with tarfile.open(path, "w:gz") as archive:
        for name in cifar10.BATCHES:
            member = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, "elsewhere"
            archive.addfile(member)
    refuse(cifar(path, tmp_path), str(path), "found no data_batch_1")


def test_no_codec_but_latin1_is_accepted(tmp_path: Path) -> None:
    value = pickled.load(b"c_codecs\nencode\n(V\xe9\nVzlib\ntR.")
    assert value == b"\xe9"


# The cache


def cache_file(folder: Path) -> Path:
    (path,) = folder.glob("*.pt")
    return path


def count_downloads(monkeypatch: pytest.MonkeyPatch) -> list[cifar10.Source]:
    calls: list[cifar10.Source] = []
    decode = cifar10.decode

    def recorded(source: cifar10.Source, cache: Path) -> tuple[Split, Split]:
        calls.append(source)
        return decode(source, cache)

    monkeypatch.setattr(cifar10, "decode", recorded)
    return calls


def test_a_second_load_reads_the_cache_and_a_changed_source_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = count_downloads(monkeypatch)
    config = cifar(batches(tmp_path / "data", 5), tmp_path / "cache")
    first, second = load(config), load(config)
    assert len(calls) == 1
    assert all(torch.equal(getattr(first, name), getattr(second, name)) for name in FIELDS)
    path = tmp_path / "data" / cifar10.FOLDER / "data_batch_1"
    size = path.stat().st_size
    path.write_bytes(batch(*random_arrays(10, 7), protocol=5))
    os.utime(path, ns=(0, 0))
    assert path.stat().st_size == size
    assert load(config).content_hash != first.content_hash
    assert len(calls) == 2


def flip_a_pixel(data: bytes) -> bytes:
    middle = data.find(random_arrays(TRAIN, 0)[0].tobytes()) + 5000
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: b"junk", lambda data: data[: len(data) // 2], flip_a_pixel],
)
def test_a_damaged_cache_file_is_decoded_again(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    config = cifar(parquet(tmp_path / "data"), tmp_path / "cache")
    load(config)
    path = cache_file(tmp_path / "cache")
    path.write_bytes(damage(path.read_bytes()))
    assert_is_made_set(load(config))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    caplog.clear()
    assert_is_made_set(load(config))
    assert not caplog.records


def test_a_cache_file_that_asks_for_code_is_not_run(tmp_path: Path) -> None:
    config = cifar(parquet(tmp_path / "data"), tmp_path / "cache")
    load(config)
    path, witness = cache_file(tmp_path / "cache"), tmp_path / "witness"
    torch.save({"train_images": Hostile(os.system, f"touch {witness}")}, path)
    assert_is_made_set(load(config))
    assert not witness.exists()


def test_a_cache_that_cannot_be_written_costs_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = tmp_path / "file"
    blocker.touch()
    assert_is_made_set(load(cifar(parquet(tmp_path / "data"), blocker / "cache")))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "data.cache" in caplog.text


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert_is_made_set(load(cifar(parquet(tmp_path / "data"), tmp_path / "cache")))
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]
    assert "No space left" in caplog.text


def test_without_locks_the_data_is_decoded_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_refusal(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", raise_refusal)
    assert_is_made_set(load(cifar(parquet(tmp_path / "data"), tmp_path / "cache")))
    assert cache_file(tmp_path / "cache").exists()


def test_a_lock_that_is_never_released_delays_but_does_not_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = cifar(parquet(tmp_path / "data"), tmp_path / "cache")
    load(config)
    path = cache_file(tmp_path / "cache")
    path.unlink()
    monkeypatch.setattr("trainers.data.image_cache.LOCK_SECONDS", 0.3)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert_is_made_set(load(config))
    assert "held by another process" in caplog.text


CHILD = """
import sys, time, os
from pathlib import Path
from trainers.config import CIFAR10, LabelNoise
from trainers.data import cifar10, images
root, cache, notes = map(Path, sys.argv[1:])
decode = cifar10.decode
def noted(source, folder):
    (notes / f"decoded-{os.getpid()}").touch()
    time.sleep(1)
    return decode(source, folder)
cifar10.decode = noted
(notes / f"ready-{os.getpid()}").touch()
while not (notes / "go").exists():
    time.sleep(0.01)
noise = LabelNoise("incorrect", 0.0, None, "floor")
config = CIFAR10("cifar10", str(root), False, str(cache), (50, 20), None, None, None, 1, True,
    "unit", "real", None, noise)
print(images.load(config).content_hash)
"""


def test_of_many_processes_at_once_one_decodes_and_all_agree(tmp_path: Path) -> None:
    root, cache, notes = parquet(tmp_path / "data"), tmp_path / "cache", tmp_path / "notes"
    notes.mkdir()
    command = [sys.executable, "-c", CHILD, str(root), str(cache), str(notes)]
    children = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    try:
        deadline = time.monotonic() + 60
        while len(list(notes.glob("ready-*"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        (notes / "go").touch()
        hashes = {child.communicate(timeout=60)[0].strip() for child in children}
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0] * 3
    assert len(list(notes.glob("decoded-*"))) == 1
    assert sorted(path.suffix for path in cache.iterdir()) == [".lock", ".pt"]
    assert hashes == {load(cifar(root, cache)).content_hash}


# The download


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files without a line on stderr for each."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An archive that a server on this machine offers under the official address, with its
    checksum.
    """
    folder = archive(tmp_path / "served")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(cifar10, "URL", f"http://127.0.0.1:{server.server_port}/{cifar10.ARCHIVE}")
    monkeypatch.setattr(
        cifar10, "MD5", hashlib.md5((folder / cifar10.ARCHIVE).read_bytes()).hexdigest()
    )
    yield folder / cifar10.ARCHIVE
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_is_decoded_and_kept(tmp_path: Path, served: Path) -> None:
    config = cifar(None, tmp_path / "cache", download=True)
    assert_is_made_set(load(config))
    served.unlink()
    assert_is_made_set(load(config))
    cache_file(tmp_path / "cache").unlink()
    assert_is_made_set(load(config))
    (tmp_path / "cache" / cifar10.ARCHIVE).unlink()
    assert_is_made_set(load(config))


def test_a_download_with_another_checksum_is_refused(
    tmp_path: Path, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "MD5", "0" * 32)
    cache = tmp_path / "cache"
    refuse(
        cifar(None, cache, download=True),
        cifar10.URL,
        "expected a file of MD5 000",
        "data.root=DIR",
    )
    assert not (cache / cifar10.ARCHIVE).exists()


def test_a_download_that_fails_names_the_address(tmp_path: Path, served: Path) -> None:
    served.unlink()
    refuse(cifar(None, tmp_path / "cache", download=True), cifar10.URL, "404", "data.root=DIR")
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # pooch leaves the socket of a refused request to the garbage collector


def test_a_root_is_used_instead_of_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "download", lambda cache: pytest.fail("downloaded"))
    assert_is_made_set(load(cifar(parquet(tmp_path / "data"), tmp_path / "cache", download=True)))


# Subsets


@pytest.fixture(scope="module")
def full_set(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    return load(digits_config(tmp_path_factory.mktemp("cache")))


def select_samples(full_set: ImageSet, seed: int = 0, **samples: int | None) -> ImageSet:
    return select(full_set, digits_config(Path("unused"), **samples), seed)


def keys(images: Tensor) -> list[bytes]:
    return [image.numpy().tobytes() for image in images]


def test_null_takes_everything_in_order(full_set: ImageSet) -> None:
    assert select_samples(full_set) is full_set
    subset = select_samples(full_set, train_samples=100)
    assert torch.equal(subset.test_images, full_set.test_images)
    assert torch.equal(subset.test_labels, full_set.test_labels)


@pytest.mark.parametrize("n", [1, 7, 10, 123, 500, 970])
def test_subsets_are_balanced_and_keep_the_order(full_set: ImageSet, n: int) -> None:
    subset = select_samples(full_set, train_samples=n, test_samples=n // 2 + 1)
    for labels, size in ((subset.train_labels, n), (subset.test_labels, n // 2 + 1)):
        counts = torch.bincount(labels, minlength=10)
        assert int(counts.sum()) == size
        assert set(counts.tolist()) <= {size // 10, size // 10 + 1}
    order = iter(keys(full_set.train_images))
    assert all(key in order for key in keys(subset.train_images))


def test_the_training_subset_follows_the_seed_and_the_test_subset_does_not(
    full_set: ImageSet,
) -> None:
    first, repeat, other = (
        select_samples(full_set, seed, train_samples=200, test_samples=100) for seed in (1, 1, 2)
    )
    assert first.content_hash == repeat.content_hash != other.content_hash
    assert not torch.equal(first.train_images, other.train_images)
    assert torch.equal(first.test_images, other.test_images)
    assert torch.equal(first.test_labels, other.test_labels)


def test_a_smaller_subset_is_within_a_larger_one(full_set: ImageSet) -> None:
    sizes = [3, 57, 58, 400]
    subsets = [set(keys(select_samples(full_set, train_samples=n).train_images)) for n in sizes]
    assert all(small <= large for small, large in itertools.pairwise(subsets))


def test_images_keep_their_labels(full_set: ImageSet) -> None:
    label_of = dict(zip(keys(full_set.train_images), full_set.train_labels.tolist(), strict=True))
    subset = select_samples(full_set, train_samples=321)
    assert [label_of[key] for key in keys(subset.train_images)] == subset.train_labels.tolist()


def test_more_than_a_class_holds_is_refused(full_set: ImageSet) -> None:
    with pytest.raises(
        ConfigError,
        match=r"data.train_samples: found 990, that is 99 of class 2, expected at most 98",
    ):
        select_samples(full_set, train_samples=990)
    with pytest.raises(
        ConfigError, match=r"data.test_samples: found 5000.*null, which takes all 798"
    ):
        select_samples(full_set, test_samples=5000)


def test_logging_stays_silent_when_all_is_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="trainers"):
        load(digits_config(tmp_path))
    assert not caplog.records
    assert digits.fingerprint().startswith("scikit-learn ")


# Fewer classes and smaller images


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[ImageSet, CIFAR10]:
    folder = tmp_path_factory.mktemp("cifar")
    config = cifar(parquet(folder / "data"), folder / "cache")
    return load(config), config


def test_classes_takes_the_first_n_classes(pictures: tuple[ImageSet, CIFAR10]) -> None:
    images, config = pictures
    part = select(images, dataclasses.replace(config, classes=4), 0)
    assert part.classes == 4
    assert part.content_hash != images.content_hash
    for name in ("train", "test"):
        labels = getattr(images, f"{name}_labels")
        assert torch.equal(
            getattr(part, f"{name}_images"), getattr(images, f"{name}_images")[labels < 4]
        )
        assert torch.equal(getattr(part, f"{name}_labels"), labels[labels < 4])
    assert select(images, dataclasses.replace(config, classes=10), 0) is images


def test_a_subset_of_few_classes_is_balanced_over_those(pictures: tuple[ImageSet, CIFAR10]) -> None:
    images, config = pictures
    part = select(
        images, dataclasses.replace(config, classes=4, train_samples=12, test_samples=8), 1
    )
    assert torch.bincount(part.train_labels).tolist() == [3] * 4
    assert torch.bincount(part.test_labels).tolist() == [2] * 4
    with pytest.raises(ConfigError, match=r"found 24.*at most 5 of that class.*takes all 20"):
        select(images, dataclasses.replace(config, classes=4, train_samples=24), 1)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_downscaled_pixels_are_the_rounded_means_of_their_blocks(
    pictures: tuple[ImageSet, CIFAR10], factor: int
) -> None:
    images, config = pictures
    small = select(images, dataclasses.replace(config, downscale=factor), 0)
    side = 32 // factor
    assert small.train_images.shape == (TRAIN, 3, side, side)
    assert small.train_images.dtype == torch.uint8
    for name in ("train_images", "test_images"):
        full_images = getattr(images, name).numpy().astype(float)
        for row, column in itertools.product((0, 1, side - 1), repeat=2):
            block = full_images[
                :, :, row * factor : (row + 1) * factor, column * factor : (column + 1) * factor
            ]
            expected = np.floor(block.mean((2, 3)) + 0.5)
            np.testing.assert_array_equal(getattr(small, name)[:, :, row, column].numpy(), expected)
    assert torch.equal(small.train_labels, images.train_labels)


def test_downscaling_keeps_the_choice_of_samples(pictures: tuple[ImageSet, CIFAR10]) -> None:
    images, config = pictures
    subset_config = dataclasses.replace(config, train_samples=20)
    full = select(images, subset_config, 3)
    small = select(images, dataclasses.replace(subset_config, downscale=2), 3)
    assert torch.equal(small.train_labels, full.train_labels)
    means = full.train_images.float().mean((1, 2, 3)), small.train_images.float().mean((1, 2, 3))
    torch.testing.assert_close(*means, atol=0.5, rtol=0)


@pytest.mark.parametrize(
    ("key", "value"), [("downscale", 3), ("downscale", 0), ("classes", 1), ("classes", 11)]
)
def test_impossible_classes_and_factors_are_refused(tmp_path: Path, key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"data.{key}: found {value}, expected"):
        cifar(None, tmp_path, **{key: value})
