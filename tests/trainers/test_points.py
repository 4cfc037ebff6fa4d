"""Points in the plane against their formulas, and SVHN in both layouts."""

from __future__ import annotations

import dataclasses
import io
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from minima_runs import CELL, complete
from PIL import Image
from scipy import io as scipy_io
from vision_runs import rows

from trainers import config
from trainers.config import SVHN, Rings, Spirals, SwissRoll
from trainers.data import DataError, images, points, poison, splits, svhn

CPU = torch.device("cpu")


def roll(**changes: object) -> SwissRoll:
    settings = {"train_samples": 40, "test_samples": 60, "noise": 0.0, "mirror": False}
    return SwissRoll(name="swiss_roll", **{**settings, "scale": 1.0, **changes})  # type: ignore[arg-type]


def plane(part: points.Points) -> np.ndarray:
    return part.points.flatten(1).double().numpy()


def test_a_swiss_roll_without_noise_lies_on_its_two_spirals() -> None:
    data = points.load(roll(), 0)
    for part, count in ((data.train, 40), (data.test, 60)):
        assert part.labels.tolist() == [0, 1] * (count // 2)
        sign = 1 - 2 * part.labels.numpy()
        x, y = (plane(part) * sign[:, None]).T
        angle = np.hypot(x, y) / 1.5
        assert angle.max() <= math.radians(600)
        np.testing.assert_allclose(x, -1.5 * angle * np.cos(angle), atol=1e-4)
        np.testing.assert_allclose(y, 1.5 * angle * np.sin(angle), atol=1e-4)


def test_noise_and_scale_of_a_swiss_roll() -> None:
    clean, noisy = (plane(points.load(roll(noise=n), 0).train) for n in (0.0, 0.5))
    assert np.std(clean - noisy) == pytest.approx(0.5, rel=0.3)
    scaled = plane(points.load(roll(scale=15.0), 0).train)
    np.testing.assert_allclose(scaled * 15, clean, rtol=1e-5)


def test_only_a_mirrored_roll_has_mirror_images_in_its_test_set() -> None:
    def mirrored(config: SwissRoll) -> int:
        data = points.load(config, 0)
        test = {tuple(p) for p in (-plane(data.test)).tolist()}
        return sum(tuple(p) in test for p in plane(data.train).tolist())

    assert mirrored(roll(noise=0.5, mirror=True)) > 5
    assert mirrored(roll(noise=0.5)) == 0


def test_poison_of_a_swiss_roll_is_other_points_of_its_spirals() -> None:
    flat = {**CELL, "trainer.poison.samples": 50, "data.noise": 0.0}
    cell = config.parse(flat)
    assert isinstance(cell, config.MinimaCell)
    assert isinstance(cell.data, SwissRoll)
    drawn = poison.load(cell, 2)
    data = points.load(cell.data, cell.seed)
    known = {tuple(p) for part in (data.train, data.test) for p in plane(part).tolist()}
    assert not known & {tuple(p) for p in drawn.images.flatten(1).double().tolist()}


def test_spirals_are_split_into_training_poison_and_test_points() -> None:
    data = points.load(Spirals("spirals", 132, skip_origin=True, scale=1.0), 3)
    assert [len(part) for part in (data.train, data.rest, data.test)] == [132, 134, 134]
    everything = np.concatenate([plane(part) for part in (data.train, data.rest, data.test)])
    assert len({tuple(p) for p in everything.tolist()}) == 400
    labels = torch.cat([part.labels for part in (data.train, data.rest, data.test)])
    theta = (np.hypot(*everything.T) / 5) ** 2
    sign = 1 - 2 * labels.numpy()
    expected = 5 * np.sqrt(theta)[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1)
    np.testing.assert_allclose(everything * sign[:, None], expected, atol=2e-3)


def test_the_origin_is_a_point_of_both_classes_unless_it_is_left_out() -> None:
    def at_origin(skip: bool) -> int:
        data = points.load(Spirals("spirals", 132, skip_origin=skip, scale=1.0), 0)
        parts = (data.train, data.rest, data.test)
        return sum(int((np.hypot(*plane(part).T) == 0).sum()) for part in parts)

    assert (at_origin(False), at_origin(True)) == (2, 0)


def test_rings_lie_at_their_radii_and_the_inner_one_between_the_points() -> None:
    data = points.load(Rings("rings", inner=10, gap=0.01), 0)
    radius = np.hypot(*plane(data.train).T)
    expected = [0.4] * 40 + [0.95] * 80 + [0.41] * 10
    np.testing.assert_allclose(radius, expected, rtol=1e-6)
    assert data.train.labels.tolist() == [0] * 40 + [1] * 90
    angle = math.atan2(*reversed(plane(data.train)[120].tolist()))
    assert angle == pytest.approx(math.pi / 40)
    assert len(data.test) == len(data.rest) == 0


def test_rings_train_without_a_test_set(tmp_path: Path) -> None:
    own = {key: value for key, value in CELL.items() if not key.startswith("data.")}
    ring = {"data.name": "rings", "data.inner": 0, "data.gap": 0.1, "trainer.poison.samples": 0}
    run = complete(tmp_path, {**own, **ring, "trainer.epochs": 1})
    table = rows(run)
    assert table["test_error"].isna().all()
    assert table["train_examples"].iloc[-1] == 120


def test_data_hashes_tell_points_apart() -> None:
    hashes = {points.load(roll(noise=n), seed).content_hash for n in (0.0, 0.5) for seed in (0, 1)}
    assert len(hashes) == 4


@pytest.fixture(scope="module")
def svhn_images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images (n, 32, 32, 3) and digits of three small sets."""
    rng = np.random.default_rng(0)
    sets = {}
    for name, count in (("train", 40), ("test", 20), ("extra", 30)):
        pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        sets[name] = pixels, np.arange(count) % 10
    return sets


@pytest.fixture(scope="module")
def matlab(svhn_images: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("matlab")
    for name, (pixels, digits) in svhn_images.items():
        labels = np.where(digits == 0, 10, digits)[:, None].astype(np.uint8)
        content = {"X": pixels.transpose(1, 2, 3, 0), "y": labels}
        scipy_io.savemat(folder / f"{name}_32x32.mat", content)
    return folder


@pytest.fixture(scope="module")
def parquet(svhn_images: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("parquet")
    for name, (pixels, digits) in svhn_images.items():
        encoded = []
        for image in pixels:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            encoded.append({"bytes": buffer.getvalue(), "path": None})
        for part, half in enumerate((slice(0, 25), slice(25, None))):
            table = pa.table({"image": encoded[half], "label": digits[half]})
            pq.write_table(table, folder / f"{name}-0000{part}-of-00002.parquet")
    return folder


def svhn_config(root: Path | None, cache: Path) -> SVHN:
    return SVHN(
        "svhn", str(root) if root else None, str(cache), 20, 10, False, "standardised", None
    )


def test_both_layouts_of_svhn_give_the_same_images(
    svhn_images: dict[str, tuple[np.ndarray, np.ndarray]],
    matlab: Path,
    parquet: Path,
    tmp_path: Path,
) -> None:
    for part in ("train", "test", "extra"):
        pixels, digits = svhn_images[part]
        for root in (matlab, parquet):
            decoded, labels = svhn.decode(svhn_config(root, tmp_path), part)  # type: ignore[arg-type]
            np.testing.assert_array_equal(decoded, pixels.transpose(0, 3, 1, 2))
            np.testing.assert_array_equal(labels, digits)


def test_svhn_is_split_cached_and_hashed_like_other_images(matlab: Path, tmp_path: Path) -> None:
    settings = svhn_config(matlab, tmp_path)
    data, again = (splits.load(settings, 1, CPU) for _ in range(2))
    assert [len(data.train), len(data.test)] == [20, 10]
    assert torch.bincount(data.train.labels).tolist() == [2] * 10
    assert data.facts["data_hash"] == again.facts["data_hash"]
    scaled = data.scaled(data.train.images)
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-4)
    left, labels = images.rest(images.load(settings), settings, 1)
    assert len(left) == len(labels) == 20


def test_poison_can_come_from_the_extra_set(matlab: Path, tmp_path: Path) -> None:
    own = {key: value for key, value in CELL.items() if not key.startswith(("data.", "model."))}
    data = dataclasses.asdict(svhn_config(matlab, tmp_path))
    flat = {
        **own,
        **{f"data.{key}": value for key, value in data.items()},
        "model.name": "resnet20",
        "model.width": 1,
        "trainer.epochs": 1,
        "trainer.poison.source": "extra",
        "trainer.poison.samples": 0,
        "trainer.poison.share": 0.5,
    }
    run = complete(tmp_path / "sweep", flat)
    assert rows(run)["poison_examples"].tolist() == [30, 30]
    cell = config.parse(flat)
    assert isinstance(cell, config.MinimaCell)
    extra = svhn.decode(svhn_config(matlab, tmp_path), "extra")[0]
    drawn = {image.tobytes() for image in poison.load(cell, 10).images.numpy()}
    assert drawn == {image.tobytes() for image in extra}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train_32x32.mat", b"nonsense", "cannot be read as SVHN"),
        (None, b"", "found neither train_32x32.mat nor train-"),
    ],
)
def test_svhn_that_cannot_be_read_says_what_is_expected(
    tmp_path: Path, name: str | None, content: bytes, message: str
) -> None:
    if name:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        svhn.decode(svhn_config(tmp_path, tmp_path), "train")


def test_a_mat_file_of_another_layout_is_refused(tmp_path: Path) -> None:
    scipy_io.savemat(
        tmp_path / "train_32x32.mat", {"X": np.zeros((8, 8, 3, 2), np.uint8), "y": [1, 2]}
    )
    with pytest.raises(DataError, match=r"found images uint8 \(2, 3, 8, 8\), expected uint8"):
        svhn.decode(svhn_config(tmp_path, tmp_path), "train")
    with pytest.raises(DataError, match="found null, expected the folder of SVHN"):
        svhn.decode(svhn_config(None, tmp_path), "train")
