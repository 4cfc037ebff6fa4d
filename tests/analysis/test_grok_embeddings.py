"""Cosets in S_n, how well they cluster, and the picture of a network's output matrix."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from grok_sweep import add
from sklearn.metrics import silhouette_score
from sympy.combinatorics import Permutation

from analysis import grok_embeddings
from analysis.grokking import cosets

PUBLISHED = cosets.generate(cosets.read(cosets.PUBLISHED, 5))


@pytest.fixture(scope="module")
def subgroups():
    return {degree: cosets.subgroups(degree) for degree in (3, 4, 5)}


def test_cycles_are_read_and_written():
    assert [p.array_form for p in cosets.read("(0,3)(1,4) (0,1,2)", 5)] == [
        [3, 4, 2, 0, 1],
        [1, 2, 0, 3, 4],
    ]
    assert cosets.read("(0,1)(1,2)", 3)[0].array_form == [1, 2, 0]  # (1,2) first
    for images in itertools.permutations(range(4)):
        permutation = Permutation(list(images))
        if images != (0, 1, 2, 3):
            assert cosets.read(cosets.cycle_notation(permutation), 4) == [permutation]
    for wrong in ("(0,5)", "(0,0)", "03", "(0,1"):
        with pytest.raises(ValueError, match="expected"):
            cosets.read(wrong, 5)


def test_products_apply_the_right_factor_first():
    elements = list(itertools.permutations(range(4)))
    table = cosets.product_table(4)
    for x, y in [(3, 17), (17, 3), (5, 20)]:
        assert elements[table[x, y]] == tuple(elements[x][i] for i in elements[y])


@pytest.mark.parametrize(
    ("degree", "count", "classes"), [(3, 4, 2), (4, 28, 9), (5, 154, 17)], ids=["S3", "S4", "S5"]
)
def test_there_are_as_many_subgroups_as_in_the_literature(subgroups, degree, count, classes):
    """OEIS A005432 and A000638, without the trivial subgroup and the whole group."""
    groups = subgroups[degree]
    assert len({group.numbers for group in groups}) == len(groups) == count
    assert {group.conjugacy_class for group in groups} == set(range(classes))
    table = cosets.product_table(degree)
    for group in groups:
        members = sorted(group.numbers)
        assert set(table[np.ix_(members, members)].ravel()) == group.numbers
        assert cosets.generate(group.generators) == group.numbers


def test_the_published_subgroup_has_the_published_order_and_cosets(subgroups):
    table = cosets.product_table(5)
    [group] = [group for group in subgroups[5] if group.numbers == PUBLISHED]
    alike = [other for other in subgroups[5] if other.conjugacy_class == group.conjugacy_class]
    assert (group.order, len(alike)) == (10, 6)
    for side in ("left", "right"):
        labels = cosets.cosets(PUBLISHED, table, side)
        assert np.bincount(labels).tolist() == [10] * 12
        assert set(np.flatnonzero(labels == 0)) == PUBLISHED  # 0 is the identity


def test_left_cosets_of_a_stabiliser_share_the_image_of_its_point(subgroups):
    elements = np.array(list(itertools.permutations(range(5))))
    fixing = [group for group in subgroups[5] if group.order == 24]
    assert sorted(group.fixed for group in fixing) == [[0], [1], [2], [3], [4]]
    for group in fixing:
        labels = cosets.cosets(group.numbers, cosets.product_table(5), "left")
        images = elements[:, group.fixed[0]]
        assert len(set(zip(labels, images, strict=True))) == 5


def clustered(subgroup, side):
    """Rows (120, 16) around centres, one for each coset of a subgroup of S5."""
    random = np.random.default_rng(0)
    labels = cosets.cosets(subgroup.numbers, cosets.product_table(5), side)
    return random.normal(size=(120, 16))[labels] + 0.2 * random.normal(size=(120, 16))


@pytest.mark.parametrize(("index", "side"), [(150, "left"), (60, "right")])
def test_the_partition_that_made_the_clusters_is_found(subgroups, index, side):
    subgroup = subgroups[5][index]
    rows = clustered(subgroup, side)
    best, *others = cosets.separation(rows, 5, draws=9)
    assert (best.subgroup.numbers, best.side) == (subgroup.numbers, side)
    assert best.silhouette == pytest.approx(silhouette_score(rows, best.labels), abs=1e-5)
    assert best.silhouette > max(other.silhouette for other in others)
    assert best.p == 1 / 10
    assert len(others) == 306  # two sides of 154 subgroups, of which one is normal


def test_rows_without_clusters_are_no_better_than_chance():
    rows = np.random.default_rng(3).normal(size=(120, 16))
    best = cosets.separation(rows, 5, draws=19)[0]
    assert best.score > 2  # the best of 307 is always far from the mean
    assert best.p > 0.05


def test_s2_has_nothing_to_separate():
    with pytest.raises(ValueError, match="S2 has no subgroup"):
        cosets.separation(np.eye(2), 2)


def test_the_shortest_stride_of_a_circle_is_that_of_its_winding():
    # 8 * 4 = 32 = 1 mod 31: neighbours on the circle are 8 apart
    angle = 2 * np.pi * np.arange(31) * 4 / 31
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


def test_the_best_run_of_each_operation_is_drawn(sweep, tmp_path, capsys, drawn_by_grok, subgroups):
    for seed, accuracy in enumerate((0.2, 1.0)):
        add(
            sweep, f"s{seed}", {"data.operation": "x.y", "seed": seed}, final_test_accuracy=accuracy
        )
        add(sweep, f"m{seed}", {"data.modulus": 31, "seed": seed}, final_test_accuracy=accuracy)
    fixing = next(group for group in subgroups[5] if group.fixed == [3] and group.order == 24)
    weights(sweep, "s1", clustered(fixing, "left"))
    angle = 2 * np.pi * np.arange(31) * 4 / 31
    weights(sweep, "m1", np.stack([np.cos(angle), np.sin(angle)], axis=1))
    assert grok_embeddings.main([str(sweep.folder), "--out", str(tmp_path)]) == 0
    points = pd.read_csv(tmp_path / "grok_embeddings.csv")
    assert points.groupby("cell").size().to_dict() == {"m1": 31, "s1": 120}
    products = points[points["cell"] == "s1"].sort_values("element")
    labels = cosets.cosets(fixing.numbers, cosets.product_table(5), "left")
    np.testing.assert_array_equal(products["group"], labels)
    assert products["published_group"].nunique() == 12
    assert all(axes.xaxis.label.get_visible() for axes in drawn_by_grok[0].axes)
    assert [axes.get_xlabel()[:3] for axes in drawn_by_grok[0].axes] == ["x·y", "x·y", "x+y"]
    table = pd.read_csv(tmp_path / "grok_embeddings_cosets.csv")
    assert (len(table), table["order"][0], table["fixed"][0]) == (307, 24, "3")
    out = capsys.readouterr().out
    assert f"best: left cosets of <{fixing.name}>, order 24: silhouette 0." in out
    assert "published: " in out
    assert "the shortest is of k and k + 8" in out
    assert "seed 1" in json.loads((tmp_path / "grok_embeddings.json").read_text())["drawn"]


def test_a_subgroup_without_clusters_is_refused(sweep, tmp_path, capsys):
    add(sweep, "s", {"data.operation": "x.y", "data.degree": 3}, final_test_accuracy=1.0)
    weights(sweep, "s", np.random.default_rng(0).normal(size=(6, 4)))
    generators = ["--generators", "(0,1) (0,1,2)"]
    assert grok_embeddings.main([str(sweep.folder), "--out", str(tmp_path), *generators]) == 2
    assert "the subgroup has 6 of 6 elements" in capsys.readouterr().err


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
