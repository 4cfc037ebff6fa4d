"""Directions, and the loss at moved weights: exact where the loss is known, fast or not."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from test_basin import bowl
from torch import Tensor, nn

from trainers.config import CNN5, MLP, VGG13
from trainers.measures import directions, paths
from trainers.measures.folding import fold
from trainers.measures.samples import Samples
from trainers.measures.surface import Landscape, grid
from trainers.models import cnn, mlp, resnet, vgg


def network(kind: str) -> tuple[nn.Module, Samples]:
    """A small network whose statistics are those of some batches, and samples in batches of 4."""
    torch.manual_seed(1)
    if kind == "mlp":
        model: nn.Module = mlp.build(MLP("mlp", 8, 2, "tanh"), 1, 8, 3)
        inputs = torch.randn(10, 1, 8, 8)
    elif kind == "resnet":
        model, inputs = resnet.preactivation(2, 1, 3), torch.randn(10, 1, 8, 8)
    elif kind == "vgg":
        model, inputs = vgg.build(VGG13("vgg13", 1), 1, 32, 3), torch.randn(10, 1, 32, 32)
    else:
        model, inputs = cnn.build(CNN5("cnn5", 3), 1, 8, 3), torch.randn(10, 1, 8, 8)
    model.train()
    for _ in range(3):
        model(inputs)
    return model.eval(), Samples(inputs, torch.arange(10) % 3, 4)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_every_filter_of_a_direction_is_as_long_as_that_of_the_weights(kind: str) -> None:
    model, _ = network(kind)
    direction = directions.draw(model, "filter", 0, 3)
    for parameter, part in zip(model.parameters(), direction, strict=True):
        if parameter.dim() < 2:
            assert not part.any()
            continue
        lengths = part.flatten(1).norm(dim=1)
        torch.testing.assert_close(lengths, parameter.detach().flatten(1).norm(dim=1))
    assert directions.norm(direction) == pytest.approx(directions.weight_norm(model), rel=1e-6)


def test_directions_do_not_depend_on_those_drawn_before() -> None:
    model, _ = network("cnn")
    first = [directions.draw(model, "filter", 5, index) for index in range(4)][3]
    again = directions.draw(model, "filter", 5, 3)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = directions.draw(model, "filter", 6, 3)
    assert not torch.equal(first[0], other[0])


def test_networks_of_one_shape_get_the_same_numbers() -> None:
    model, _ = network("cnn")
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(3)
    one, three = (directions.draw(m, "filter", 0, 0) for m in (model, other))
    for a, b in zip(one, three, strict=True):
        torch.testing.assert_close(3 * a, b)


def test_a_filter_of_norm_zero_does_not_move_and_does_not_count() -> None:
    model = nn.Linear(4, 3)
    with torch.no_grad():
        model.weight[1] = 0
    for kind in ("filter", "scaled"):
        weight, bias = directions.draw(model, kind, 0, 0)  # type: ignore[arg-type]
        assert not weight[1].any()
        assert weight[0].any()
        assert not bias.any()
    assert directions.dimensions(model) == 8


def test_the_scaled_direction_is_a_unit_vector_times_the_size_of_the_filters() -> None:
    model, _ = network("cnn")
    scaled = directions.draw(model, "scaled", 0, 1)
    sizes = directions.filter_sizes(model)
    ratios = [part[size > 0] / size[size > 0] for part, size in zip(scaled, sizes, strict=True)]
    assert directions.norm(ratios) == pytest.approx(1.0, rel=1e-6)


def test_the_surface_of_a_quadratic_is_exact_everywhere() -> None:
    curvatures = torch.tensor([1.0, 0.25, 4.0, 2.0])
    landscape = bowl(curvatures.numpy())
    axes = [directions.draw(landscape.model, "gaussian", 0, index) for index in (0, 1)]
    plane = landscape.along(axes)
    for x in grid(5, 1.5, "linear"):
        for y in grid(5, 1.5, "square"):
            w = x * axes[0][0] + y * axes[1][0]
            expected = float((curvatures * w**2).sum() / 2)
            assert plane.at(x, y).loss == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kind", ["mlp", "cnn", "vgg"])
def test_the_fast_way_gives_the_loss_of_the_plain_one(kind: str) -> None:
    model, samples = network(kind)
    landscape = Landscape(model, samples)
    axes = [directions.draw(model, "filter", 0, index) for index in (0, 1)]
    assert fold(model, axes, samples) is not None
    fast, plain = landscape.along(axes), landscape.along(axes, folds=False)
    for x, y in [(0.0, 0.0), (0.3, -0.2), (-1.0, 0.7)]:
        one, other = fast.at(x, y), plain.at(x, y)
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.wrong == other.wrong


def test_what_the_fast_way_does_not_know_is_computed_plainly() -> None:
    model, samples = network("resnet")
    axes = [directions.draw(model, "filter", 0, 0)]
    assert fold(model, axes, samples) is None
    assert Landscape(model, samples).along(axes).at(0.1).loss is not None


class Doubled(nn.Conv2d):
    """A convolution of a user's that does more."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"), nn.BatchNorm2d(2)],
        [Doubled(1, 2, 3, padding=1), nn.BatchNorm2d(2)],
        [nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2, affine=False)],
        [nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2, track_running_stats=False)],
        [nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3, padding=1))],
    ],
    ids=["circular", "subclass", "no weights", "no statistics", "weight norm"],
)
def test_layers_with_more_than_the_fast_way_knows_are_not_folded(layers: list[nn.Module]) -> None:
    model = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(2 * 64, 10)).eval()
    _, samples = network("cnn")
    axes = [directions.draw(model, "filter", 0, 0)]
    assert fold(model, axes, samples) is None


def test_a_direction_that_moves_a_norm_is_not_folded() -> None:
    model, samples = network("cnn")
    everything = [torch.ones_like(p) for p in model.parameters()]
    assert fold(model, [everything], samples) is None


@pytest.mark.parametrize("kind", ["cnn", "resnet"])
@pytest.mark.parametrize("bn", ["kept", "recalibrated"])
def test_the_centre_stays_the_same_to_the_bit(kind: str, bn: Any) -> None:
    model, samples = network(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    landscape = Landscape(model, samples, bn)
    centre = landscape.here()
    plane = landscape.along([directions.draw(model, "filter", 0, 0)], folds=False)
    for index in range(30):
        plane.at(math.sin(index))
    assert landscape.here() == centre
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_recalibrated_statistics_are_those_of_the_samples_at_the_moved_weights() -> None:
    model, samples = network("cnn")
    direction = directions.draw(model, "filter", 0, 0)
    value = Landscape(model, Samples(samples.inputs, samples.targets, 100), "recalibrated")
    point = value.along([direction]).at(0.4)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, part in zip(moved.parameters(), direction, strict=True):
            parameter.add_(0.4 * part)
        for norm in moved.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = 1.0  # one batch: its statistics alone
        moved.train()(samples.inputs)
    expected = Landscape(moved, samples).here()
    assert point.loss == pytest.approx(expected.loss, rel=1e-4)
    kept = Landscape(model, samples).along([direction]).at(0.4)
    assert point.loss != pytest.approx(kept.loss, rel=1e-2)


def test_a_short_last_batch_counts_by_its_samples_in_recalibrated_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(4, 2))
    inputs = torch.zeros(101, 1, 2, 2)
    inputs[100] = 101.0
    samples = Samples(inputs, torch.zeros(101, dtype=torch.long), 100)
    landscape = Landscape(model, samples, "recalibrated")
    with landscape.recalibrated():
        assert model[0].running_mean.item() == pytest.approx(1.0)
    assert model[0].running_mean.item() == 0.0


def test_an_evaluation_above_its_limit_ends_early_and_one_below_is_exact() -> None:
    model, samples = network("cnn")
    plane = Landscape(model, samples).along([directions.draw(model, "filter", 0, 0)])
    whole = plane.at(0.5)
    assert whole.loss is not None
    assert plane.at(0.5, above=whole.loss * 1.001) == whole
    ended = plane.at(0.5, above=whole.loss * 0.999)
    assert (ended.loss, ended.wrong) == (None, None)


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ("linear", [-2, -1, 0, 1, 2]),
        ("square", [-2, -0.5, 0, 0.5, 2]),
        ("quintic", [-2, -2 / 32, 0, 2 / 32, 2]),
    ],
)
def test_grids_are_symmetric_and_hold_the_centre(spacing: Any, expected: list[float]) -> None:
    assert grid(5, 2.0, spacing) == pytest.approx(expected)
    assert grid(1, 2.0, spacing) == [0.0]


def test_a_line_on_a_quadratic_has_no_barrier_and_the_sag_of_its_curvature() -> None:
    curvatures = torch.tensor([1.0, 0.5, 3.0])
    landscape = bowl(curvatures.numpy())
    a, b = torch.tensor([[1.0, -1.0, 0.2]]), torch.tensor([[-0.5, 2.0, 0.4]])
    with torch.no_grad():
        landscape.model.weight.copy_(a)  # type: ignore[union-attr,operator]
    line = paths.Line(landscape.model, {"weight": b.numpy()})
    places = paths.places_on_line(-0.5, 1.5, 21)
    losses = []
    for t in places:
        with line.at(t):
            losses.append(landscape.here().value)
    assert paths.barrier(places, losses) == pytest.approx(0.0, abs=1e-6)
    d = (b - a)[0]
    by_place = dict(zip(places, losses, strict=True))
    sag = (by_place[0.0] + by_place[1.0]) / 2 - by_place[0.5]
    assert sag == pytest.approx(float((curvatures * d**2).sum()) / 8, rel=1e-5)
    assert line.distance == pytest.approx(float(d.norm()))
    assert torch.equal(landscape.model.weight, a)  # type: ignore[arg-type]


def test_a_barrier_is_the_largest_rise_above_the_chord() -> None:
    assert paths.barrier([-0.5, 0.0, 0.25, 0.5, 1.0], [9.0, 1.0, 2.0, 1.5, 3.0]) == 0.5


def test_a_loss_that_is_no_number_between_two_ends_is_a_barrier() -> None:
    assert paths.barrier([-0.5, 0.0, 0.5, 1.0], [0.1, 0.1, math.nan, 0.2]) == math.inf
    assert paths.barrier([-0.5, 0.0, 0.5, 1.0], [math.nan, 0.1, 0.1, 0.1]) == 0.0


def test_both_ends_are_among_the_places_of_a_line() -> None:
    assert paths.places_on_line(-0.5, 1.5, 81)[20:61:40] == [0.0, 1.0]
    assert paths.places_on_line(-0.3, 1.2, 4) == pytest.approx([-0.3, 0.0, 0.2, 0.7, 1.0, 1.2])


def test_a_path_in_a_plane_is_found_in_that_plane() -> None:
    model = nn.Linear(6, 2)
    end = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    rng = torch.Generator().manual_seed(0)
    axes = [{n: torch.randn(v.shape, generator=rng).numpy() for n, v in end.items()} for _ in "ab"]
    points = [(5.0, 0.0), (4.0, 1.0), (2.0, 2.0), (1.0, 1.5), (0.0, 0.0)]
    snapshots = []
    for x, y in points:
        snapshots.append({n: end[n] + x * axes[0][n] + y * axes[1][n] for n in end})
    plane = paths.principal_plane(model, snapshots)
    assert max(plane.off_plane) < 1e-5
    assert sum(plane.explained) == pytest.approx(1.0)
    assert plane.coordinates[-1] == pytest.approx((0.0, 0.0), abs=1e-6)
    assert max(abs(value) for pair in plane.coordinates for value in pair) == pytest.approx(1.0)
    first, second = plane.axes(model)
    x, y = plane.coordinates[1]
    for index, (name, parameter) in enumerate(model.named_parameters()):
        moved = parameter.detach() + x * first[index] + y * second[index]
        torch.testing.assert_close(moved.numpy(), snapshots[1][name], rtol=1e-4, atol=1e-4)


def test_a_path_needs_three_snapshots() -> None:
    model = nn.Linear(2, 1)
    state = {name: p.detach().numpy() for name, p in model.named_parameters()}
    with pytest.raises(ValueError, match="has 2 snapshots, expected at least 3"):
        paths.principal_plane(model, [state, state])
