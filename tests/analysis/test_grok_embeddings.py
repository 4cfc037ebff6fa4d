"""Cosets in S_n, how well they cluster, and the picture of a network's output matrix."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from grok_sweep import add
from sklearn.metrics import silhouette_score

from analysis import grok_embeddings
from analysis.grokking import cosets

PUBLISHED = cosets.read(cosets.PUBLISHED, 5)


def test_cycles_are_read_and_written():
    assert cosets.read("(0,3)(1,4)", 5) == [(3, 4, 2, 0, 1)]
    assert cosets.read("(0,1,2)", 3) == [(1, 2, 0)]
    for permutation in itertools.permutations(range(4)):
        if permutation != (0, 1, 2, 3):
            assert cosets.read(cosets.cycle_notation(permutation), 4) == [permutation]
    for wrong in ("(0,5)", "(0,0)", "03", "(0,1"):
        with pytest.raises(ValueError, match="expected"):
            cosets.read(wrong, 5)


def test_the_published_subgroup_has_the_published_order_and_cosets():
    subgroup = cosets.generate(PUBLISHED, 5)
    assert len(subgroup) == 10
    assert all(cosets.product(x, y) in subgroup for x in subgroup for y in subgroup)
    groups = cosets.conjugates(subgroup, 5)
    assert groups[0] == subgroup
    assert len(set(groups)) == 6
    partitions = {cosets.cosets(g, 5, side).tobytes() for g in groups for side in ("left", "right")}
    assert len(partitions) == 12
    for side in ("left", "right"):
        labels = cosets.cosets(subgroup, 5, side)
        assert np.bincount(labels).tolist() == [10] * 12
        inside = {x for x, label in zip(cosets.elements(5), labels, strict=True) if label == 0}
        assert inside == subgroup  # the identity is the first element


@pytest.mark.parametrize("side", ["left", "right"])
def test_elements_share_a_coset_if_their_quotient_is_in_the_subgroup(side):
    every, subgroup = cosets.elements(4), cosets.generate(cosets.read("(0,1,2,3)", 4), 4)
    labels = cosets.cosets(subgroup, 4, side)
    for (a, x), (b, y) in itertools.product(enumerate(every), repeat=2):
        quotient = (
            cosets.product(cosets.inverse(x), y)
            if side == "left"
            else cosets.product(y, cosets.inverse(x))
        )
        assert (labels[a] == labels[b]) == (quotient in subgroup)


def clustered(side: str, conjugate: int) -> np.ndarray:
    """Rows (120, 16) around 12 centres, one for each coset of a conjugate of the published
    subgroup.
    """
    random = np.random.default_rng(0)
    group = cosets.conjugates(cosets.generate(PUBLISHED, 5), 5)[conjugate]
    return random.normal(size=(12, 16))[cosets.cosets(group, 5, side)] + 0.2 * random.normal(
        size=(120, 16)
    )


def test_the_partition_that_made_the_clusters_is_found():
    rows = clustered("right", 3)
    result = cosets.separation(rows, PUBLISHED, draws=19)
    best = result.partitions[0]
    group = cosets.conjugates(cosets.generate(PUBLISHED, 5), 5)[3]
    assert best.side == "right"
    np.testing.assert_array_equal(best.labels, cosets.cosets(group, 5, "right"))
    assert cosets.generate(cosets.read(best.generators, 5), 5) == group
    assert best.silhouette == pytest.approx(silhouette_score(rows, best.labels))
    assert best.silhouette > 0.5 > result.random.max()
    assert result.p == 1 / 20
    assert len(result.partitions) == 12


def test_rows_without_clusters_are_no_better_than_chance():
    rows = np.random.default_rng(3).normal(size=(120, 16))
    result = cosets.separation(rows, PUBLISHED, draws=40)
    assert result.partitions[0].silhouette < 0
    assert result.p > 0.05
    with pytest.raises(ValueError, match="no clusters"):
        cosets.separation(rows, cosets.read("(0,1) (0,1,2,3,4)", 5))


def test_the_shortest_stride_of_a_circle_is_that_of_its_winding():
    angle = (
        2 * np.pi * np.arange(31) * 4 / 31
    )  # 8 * 4 = 32 = 1 mod 31: neighbours on the circle are 8 apart
    stride, ratios = grok_embeddings.shortest_stride(
        np.stack([np.cos(angle), np.sin(angle)], axis=1)
    )
    assert stride == 8
    assert len(ratios) == 15
    chords = 2 * np.sin(np.pi * np.arange(1, 31) / 31)
    assert ratios[7] == pytest.approx(chords[0] / chords.mean())


def weights(sweep, cell, rows):
    folder = sweep.folder / "weights"
    folder.mkdir(exist_ok=True)
    np.savez(
        folder / f"{cell}.npz",
        **{"output.weight": np.concatenate([rows, np.zeros((3, rows.shape[1]))])},
    )


def test_the_best_run_of_each_operation_is_drawn(sweep, tmp_path, capsys, drawn_by_grok):
    for seed, accuracy in enumerate((0.2, 1.0)):
        add(
            sweep, f"s{seed}", {"data.operation": "x.y", "seed": seed}, final_test_accuracy=accuracy
        )
        add(sweep, f"m{seed}", {"data.modulus": 31, "seed": seed}, final_test_accuracy=accuracy)
    weights(sweep, "s1", clustered("left", 0))
    angle = 2 * np.pi * np.arange(31) * 4 / 31
    weights(sweep, "m1", np.stack([np.cos(angle), np.sin(angle)], axis=1))
    assert grok_embeddings.main([str(sweep.folder), "--out", str(tmp_path)]) == 0
    points = pd.read_csv(tmp_path / "grok_embeddings.csv")
    assert points.groupby("cell").size().to_dict() == {"m1": 31, "s1": 120}
    left_groups = points[points["cell"] == "s1"].sort_values("element")["group"]
    np.testing.assert_array_equal(
        left_groups, cosets.cosets(cosets.generate(PUBLISHED, 5), 5, "left")
    )
    assert len(pd.read_csv(tmp_path / "grok_embeddings_cosets.csv")) == 12
    out = capsys.readouterr().out
    assert "left cosets of <(0,3)(1,4) (1,2)(3,4)>: silhouette 0." in out
    assert "the shortest is of k and k + 8" in out
    assert "seed 1" in json.loads((tmp_path / "grok_embeddings.json").read_text())["drawn"]


def test_runs_without_weights_say_how_to_keep_them(sweep, capsys):
    add(sweep, "a", {}, final_test_accuracy=0.5)
    assert grok_embeddings.main([str(sweep.folder)]) == 2
    assert "trainer.save_weights=true" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x80\x04N."])
def test_damaged_weights_are_named(sweep, tmp_path, capsys, content):
    add(sweep, "sum", {"data.modulus": 97}, final_test_accuracy=1.0)
    (sweep.folder / "weights").mkdir()
    (sweep.folder / "weights" / "sum.npz").write_bytes(content)
    assert grok_embeddings.main([str(sweep.folder), "--out", str(tmp_path)]) == 2
    assert "sum.npz: not a whole file of weights" in capsys.readouterr().err


@pytest.mark.parametrize(("stride", "message"), [("0", "found '0'"), ("8", "expected 1 to 6")])
def test_a_stride_beyond_half_the_modulus_is_refused(sweep, tmp_path, capsys, stride, message):
    add(sweep, "sum", {"data.modulus": 13}, final_test_accuracy=1.0)
    (sweep.folder / "weights").mkdir()
    rows = np.random.default_rng(0).normal(size=(13, 4))
    np.savez(sweep.folder / "weights" / "sum.npz", **{"output.weight": rows})
    options = [str(sweep.folder), "--out", str(tmp_path), "--stride", stride]
    try:
        status = grok_embeddings.main(options)
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert message in capsys.readouterr().err
