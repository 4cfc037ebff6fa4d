"""Means that are no means of counts: found, described, and left alone where nothing is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from analysis import integrity
from analysis.double_descent import error_counts

IMAGES, SEEDS = 1000, 5


@pytest.fixture
def counts():
    """Error counts of five seeds on a grid of 60 rows and 40 columns."""
    return np.random.default_rng(0).integers(100, 400, (SEEDS, 60, 40))


def mean_and_std(counts):
    return counts.mean(axis=0) / IMAGES, counts.std(axis=0) / IMAGES


def ramp(length, breaks, steps):
    """A line with the given steps between neighbours, up to each break."""
    return np.concatenate([[0], np.cumsum(np.repeat(steps, np.diff([0, *breaks, length - 1])))])


def test_untouched_arrays_pass(counts):
    mean, std = mean_and_std(counts)
    assert error_counts.check_mean(mean, IMAGES, SEEDS).share == 1
    assert error_counts.check_std(std, IMAGES, SEEDS).share == 1
    lines = integrity.report(mean, std, IMAGES, SEEDS)
    assert "100.00% of cells can come from the same 5 counts" in lines[-1]
    assert not any("fractional" in line for line in lines)


@pytest.mark.parametrize(
    "options", [("--images", "0", "--seeds", "5"), ("--images", "10", "--seeds", "-1")]
)
def test_counts_below_one_are_refused(options, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        integrity.main([str(tmp_path / "mean.npy"), *options])
    assert ended.value.code == 2
    assert "expected an integer of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["zip", "complex", "huge", "short", "empty"])
def test_a_file_that_is_no_array_of_errors_is_named(kind, tmp_path, capsys):
    write_bad_array(tmp_path / "mean.npy", kind)
    options = [str(tmp_path / "mean.npy"), "--images", "10", "--seeds", "5"]
    assert integrity.main(options) == 2
    assert "mean.npy" in capsys.readouterr().err


def write_bad_array(path, kind):
    """A file named .npy that holds no array of real numbers."""
    if kind == "zip":
        with path.open("wb") as file:
            np.savez(file, a=np.zeros(2))
    elif kind == "complex":
        np.save(path, np.zeros((2, 2), complex))
    elif kind == "huge":
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**16,)}
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
    else:
        np.save(path, np.zeros((20, 20)))
        path.write_bytes(path.read_bytes()[: 200 if kind == "short" else 0])


def test_single_impossible_cells_are_named(counts, tmp_path, capsys):
    mean, _ = mean_and_std(counts)
    mean[3, 7] += 1e-5
    mean[5, 5] = np.nan
    check = error_counts.check_mean(mean, IMAGES, SEEDS)
    assert np.argwhere(~check.possible).tolist() == [[3, 7], [5, 5]]
    np.save(tmp_path / "mean.npy", mean)
    files = [str(tmp_path / "mean.npy"), "--cells", str(tmp_path / "cells.csv")]
    assert integrity.main([*files, "--images", str(IMAGES), "--seeds", str(SEEDS)]) == 1
    assert "2398 of 2400 cells" in capsys.readouterr().out
    assert (tmp_path / "cells.csv").read_text().splitlines()[1].startswith("3,7,")


def test_a_mean_of_other_counts_disagrees_with_its_std(counts):
    mean, std = mean_and_std(counts)
    shifted = mean + 1 / (IMAGES * SEEDS)
    assert error_counts.check_mean(shifted, IMAGES, SEEDS).share == 1
    line = integrity.report(shifted, std, IMAGES, SEEDS)[-1]
    assert line.startswith("mean and std")
    assert "100.00%" not in line


def test_an_additive_offset_is_described_and_its_slopes_found(counts):
    mean, std = mean_and_std(counts)
    rows, columns = ramp(60, [25], [2.25, 0.125]), ramp(40, [10], [1.4, 4.7])
    scaled = mean * IMAGES * SEEDS + rows[:, None] + columns + 0.3
    check = error_counts.check_integers(scaled)
    result = error_counts.offset(scaled, check.tolerance)
    assert result.additive == 1
    assert [(a, b) for a, b, _ in result.rows] == [(0, 25), (25, 59)]
    assert [step for *_, step in result.columns] == pytest.approx([0.4, 0.7])
    variance = np.round((std * IMAGES * SEEDS) ** 2).astype(np.int64)
    best = error_counts.slopes(scaled, variance, result, SEEDS)
    assert best.share == 1
    assert best.second < 0.6
    assert [step for *_, step in best.rows] == pytest.approx([2.25, 0.125])
    assert [step for *_, step in best.columns] == pytest.approx([1.4, 4.7])


def test_noise_is_not_taken_for_an_offset(counts):
    mean, std = mean_and_std(counts)
    noisy = mean + np.random.default_rng(1).normal(0, 1e-4, mean.shape)
    lines = integrity.report(noisy, std, IMAGES, SEEDS)
    assert lines[-1].startswith("fractional parts")
    assert "100.00%" not in lines[-1]


def test_means_of_batch_errors_have_their_own_unit():
    generator = np.random.default_rng(2)
    sizes = np.array([128] * 3 + [80])
    errors = (generator.integers(0, 80, (SEEDS, 7, 4)) / sizes).mean(axis=2)
    assert error_counts.unit(sum(sizes), 128) == 4 * 640
    assert error_counts.unit(256, 128) == 256
    assert error_counts.check_mean(errors.mean(axis=0), int(sum(sizes)), SEEDS, 128).share == 1
    assert error_counts.check_mean(errors.mean(axis=0), int(sum(sizes)), SEEDS).share < 1


def test_arrays_too_coarse_to_tell_are_refused(counts, tmp_path, capsys):
    np.save(tmp_path / "mean.npy", mean_and_std(counts)[0].astype(np.float32) * 100)
    assert integrity.main([str(tmp_path / "mean.npy"), "--images", str(10**6), "--seeds", "5"]) == 2
    assert "too coarse to tell" in capsys.readouterr().err


def test_other_shapes_are_refused(counts, tmp_path, capsys):
    mean, std = mean_and_std(counts)
    for name, array in (("mean", mean), ("std", std.T)):
        np.save(tmp_path / f"{name}.npy", array)
    files = [str(tmp_path / "mean.npy"), "--std", str(tmp_path / "std.npy")]
    assert integrity.main([*files, "--images", "1000", "--seeds", "5"]) == 2
    assert "has shape (40, 60)" in capsys.readouterr().err


def test_published_arrays_are_what_they_are_known_to_be(reference):
    mean, std = (np.load(reference / f"resnet-test-errors_{x}.npy") for x in ("mean", "std"))
    check = error_counts.check_mean(mean, 10_000, 5)
    assert check.share == pytest.approx(0.009, abs=1e-4)
    lines = "\n".join(integrity.report(mean, std, 10_000, 5))
    assert "std: 92092 of 92092 cells" in lines
    assert "row plus one of the column in 100.00% of cells" in lines
    for stretch in (
        "rows 0 to 99: 2.87879",
        "rows 100 to 1000: 4.11111",
        "columns 0 to 39: 2.94872",
        "columns 40 to 91: 4.31373",
    ):
        assert stretch in lines
    assert "same 5 counts in 100.00% of cells (next-best choice of a step: 37.05%)" in lines
    train_errors = [np.load(reference / f"resnet-train-errors_{x}.npy") for x in ("mean", "std")]
    assert error_counts.check_mean(train_errors[0], 50_000, 5, 128).share == 1
    assert error_counts.check_std(train_errors[1], 50_000, 5, 128).share == 1
    pair = [np.load(reference / f"icml_fig6_{name}_reg.npy") for name in ("w", "wo")]
    assert [error_counts.check_mean(curve, 10_000, 1).share > 0.5 for curve in pair] == [
        True,
        False,
    ]
    assert "rows 100 to 1000: 0.11111" in "\n".join(integrity.report(pair[1], None, 10_000, 50))
