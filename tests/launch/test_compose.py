"""Sweeps: grids expand, mistakes are named, and a cell is the same whichever way it is reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from launch.errors import UserError
from launch.scheduler import sbatch
from launch.sweep import compose
from launch.sweep.compose import expand_sweep
from launch.sweep.request import Cell

LOCAL = "hydra/launcher=local"
WriteSweep = Callable[[str, str], None]


def cells(sweep: str, *overrides: str) -> Sequence[Cell]:
    return expand_sweep(sweep, [LOCAL, *overrides]).cells


def refusal(sweep: str, *overrides: str) -> str:
    """The message of the one UserError; a single paragraph that a terminal can show."""
    with pytest.raises(UserError) as error:
        expand_sweep(sweep, [LOCAL, *overrides])
    assert "Traceback" not in str(error.value)
    return str(error.value)


@pytest.fixture
def tiny(write_sweep: WriteSweep) -> str:
    """A sweep of two cells."""
    write_sweep(
        "tiny", "defaults: [{override /data: digits}]\naxes: {model.width: [1, 2]}\nseeds: [0]\n"
    )
    return "tiny"


@pytest.fixture
def plain() -> Iterator[Callable[..., Cell]]:
    """Composes one cell the way that the plain Hydra command line does."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(compose.CONFIGS), version_base="1.3"):
        yield lambda *overrides: compose.single_cell(
            hydra.compose("config", overrides=list(overrides))
        )


@pytest.mark.parametrize("launcher", ["local", "debug", "slurm", "v100"])
def test_every_launcher_is_accepted_by_its_backend(tiny: str, launcher: str) -> None:
    request = expand_sweep(tiny, [f"hydra/launcher={launcher}"])
    assert request.launcher.kind == ("slurm" if launcher == "v100" else launcher)
    sbatch.check(request.launcher)


@pytest.mark.parametrize(
    ("group", "name"),
    [(p.parent.name, p.stem) for p in sorted(compose.CONFIGS.glob("[mdo]*/*.yaml"))],
)
def test_every_key_of_every_group_file_is_a_key_of_the_cell(
    plain: Callable[..., Cell], group: str, name: str
) -> None:
    def leaves(node: dict[str, Any], path: str) -> Iterator[str]:
        for key, value in node.items():
            yield from (
                leaves(value, f"{path}.{key}") if isinstance(value, dict) else [f"{path}.{key}"]
            )

    text = yaml.safe_load((compose.CONFIGS / group / f"{name}.yaml").read_text())
    if name == "none":
        choices = ["trainer=noop", "model=none", "data=none", "optim=none"]
    elif {text["name"], name} & {"transformer", "arithmetic"}:
        choices = ["trainer=algorithmic", f"{group}={name}"]
    else:
        choices = ["trainer=minima", f"{group}={name}"]  # takes all that `vision` takes, and more
    result = plain(*choices).flat
    assert {key for key in result if key.startswith(f"{group}.")} == set(leaves(text, group))


def test_figure_2_has_a_hundred_decays_and_five_seeds() -> None:
    result = cells("fig2_ab")
    decays = sorted({cell.flat["optim.weight_decay"] for cell in result})
    assert len(result) == 500
    assert len(decays) == 100
    assert [math.log10(value) for value in decays] == pytest.approx(
        [-8 + 7.9 * i / 99 for i in range(100)]
    )


def test_a_cell_has_the_same_id_in_a_sweep_and_in_plain_hydra(
    plain: Callable[..., Cell],
) -> None:
    shared = [
        "data=digits",
        "model.width=4",
        "data.train_samples=32",
        "data.test_samples=20",
        "trainer.epochs=1",
        "trainer.batch_size=16",
    ]
    single = {
        plain(f"model={model}", f"optim={optim}", *shared).id
        for model in ("resnet18_pre", "resnet18_post", "cnn", "mlp")
        for optim in ("adam", "adamw", "sgd")
    }
    GlobalHydra.instance().clear()
    assert single == {cell.id for cell in cells("smoke")}


def test_a_point_of_a_sweep_can_be_run_alone_by_naming_its_values(
    plain: Callable[..., Cell],
) -> None:
    plain_cell = plain(
        "sweep=width_noise",
        "model.width=8",
        "data.label_noise.rate=0.1",
        "optim.weight_decay=0",
        "seed=2",
    )
    GlobalHydra.instance().clear()
    result = cells(
        "width_noise",
        "where=['model.width=8','data.label_noise.rate=0.1','optim.weight_decay=0','seed=2']",
    )
    assert [cell.id for cell in result] == [plain_cell.id]


def test_where_a_cell_runs_does_not_change_its_id(tiny: str) -> None:
    other = cells(tiny, "run.device=cpu", "run.threads=2", "data.cache=/elsewhere", "name=other")
    assert [cell.id for cell in other] == [cell.id for cell in cells(tiny)]


def test_every_other_override_changes_every_id(tiny: str) -> None:
    assert not {c.id for c in cells(tiny, "optim.weight_decay=0.1")} & {c.id for c in cells(tiny)}


def test_group_axes_choose_whole_files(write_sweep: WriteSweep) -> None:
    write_sweep(
        "groups",
        "axes: {model: [mlp, cnn], optim: [sgd, adam], optim.lr: [0.5, 0.25]}\nmodel: {width: 3}\n",
    )
    result = [cell.flat for cell in cells("groups", "data=digits")]
    settings = [(flat["model.name"], flat["optim.name"], flat["optim.lr"]) for flat in result]
    assert settings == [
        (m, o, lr) for m in ("mlp", "cnn5") for o in ("sgd", "adam") for lr in (0.5, 0.25)
    ]
    assert {flat["model.width"] for flat in result} == {3}
    assert [("model.depth" in flat, "optim.momentum" in flat) for flat in result[::2]] == [
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    ]


def test_seeds_multiply_the_points_and_default_to_a_single_seed(
    write_sweep: WriteSweep,
) -> None:
    write_sweep("seeded", "axes: {model.width: [1, 2]}\nseeds: [5, 3]\n")
    write_sweep("unseeded", "axes: {model.width: [1, 2]}\nseed: 7\n")
    assert [(c.flat["model.width"], c.flat["seed"]) for c in cells("seeded")] == [
        (1, 5),
        (1, 3),
        (2, 5),
        (2, 3),
    ]
    assert [(c.flat["model.width"], c.flat["seed"]) for c in cells("unseeded")] == [(1, 7), (2, 7)]


def test_zip_and_where_thin_the_grid(write_sweep: WriteSweep) -> None:
    write_sweep(
        "thin",
        "axes: {model.width: [1, 2, 3], optim.lr: [0.1, 0.2, 0.3], optim.weight_decay: [0, 1e-3]}\n"
        "zip: [[model.width, optim.lr]]\n"
        "where: ['model.width < 3', 'optim.weight_decay > 0 or model.width == 1']\n",
    )
    result = [
        (c.flat["model.width"], c.flat["optim.lr"], c.flat["optim.weight_decay"])
        for c in cells("thin")
    ]
    assert result == [(1, 0.1, 0.0), (1, 0.1, 1e-3), (2, 0.2, 1e-3)]


def test_no_axes_make_one_cell_per_seed(write_sweep: WriteSweep) -> None:
    write_sweep("flat", "seeds: [0, 1, 2]\n")
    assert [cell.flat["seed"] for cell in cells("flat")] == [0, 1, 2]


def test_ten_thousand_cells_take_a_handful_of_compositions(
    write_sweep: WriteSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sweep(
        "large",
        "defaults: [{override /data: digits}]\n"
        "axes: {model: [mlp, cnn], optim.weight_decay: {log: [1, 1e-8, 100]}, model.width: {range: "
        "[1, 11, 1]}}\n"
        "seeds: [0, 1, 2, 3, 4]\n",
    )
    calls = []
    real = compose.compose
    monkeypatch.setattr(
        compose, "compose", lambda *args, **keys: calls.append(args) or real(*args, **keys)
    )
    result = cells("large")
    assert len({cell.id for cell in result}) == 10_000
    assert len(calls) <= 3


@pytest.mark.parametrize("name", ["../x", ".hidden", "a b", "a/b", "", "x" * 101, "é", "-x"])
def test_a_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    assert "expected letters, digits" in refusal(name)


def test_an_unknown_sweep_lists_those_there_are() -> None:
    output = refusal("fig2")
    assert "no sweep 'fig2'" in output
    names = sorted(path.stem for path in (compose.CONFIGS / "sweep").glob("*.yaml"))
    assert ", ".join(names) in output


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.widht=3", "model.widht: unknown key; did you mean model.width?"),
        ("optim.weigth_decay=3", "did you mean optim.weight_decay?"),
        ("+model.foo=3", "model.foo: unknown key"),
        ("+foo=3", "foo: unknown key"),
        ("trainer.epochs=many", "trainer.epochs: found 'many' (str), expected an integer"),
        ("trainer.epochs=1.5", "trainer.epochs: found 1.5 (float), expected an integer"),
        ("trainer.epochs=true", "trainer.epochs: found True (bool), expected an integer"),
        ("optim.lr=nan", "optim.lr: found nan"),
        ("data.label_noise.rate=2", "data.label_noise.rate: found 2.0, expected 0.0 to 1.0"),
        ("data.label_noise=2", "data.label_noise: found 2, expected a section"),
        ("data.source_rows=[1,2]", "data.source_rows"),
        ("model=vgg", "Could not find 'model/vgg'"),
        ("hydra/launcher=pbs", "Could not find 'hydra/launcher/pbs'"),
        ("hydra.launcher.timeot_min=3", "hydra.launcher.timeot_min: unknown key"),
        ("task.cell=3", "task.cell: unknown key"),
        ("+task.cell=3", "task.cell: unknown key; known: cells, at_a_time, minutes, most, slots"),
        ("task.cells=0", "task.cells: found 0, expected an integer of at least 1"),
        ("task.most=null", "task.most: found None"),
        ("name=a/b", "sweep name 'a/b'"),
        ("model.width=1,2", "Ambiguous value"),
        ("model.width", "missing EQUAL"),
        ("foo bar", "foo bar"),
        ("seeds=[0,0]", "a value twice"),
        ("seeds=3", "found 3, expected a non-empty list"),
        ("seeds=[a]", "seed: found 'a'"),
        (
            "where=['model.width > 1000']",
            "the grid is empty: no point meets ['model.width > 1000']",
        ),
        ("where=['model.widht > 1']", "no configuration key 'model.widht'"),
        ("where=['model.width >']", "condition 'model.width >'"),
        ("zip=[[model.width,seed]]", "equally many values"),
        ("zip=[[model.width,lr]]", "'lr' is not an axis"),
        ("+axes.seed=[1,2]", "seeds are an axis of their own"),
        ("+axes.model=[mlp,vgg]", "Could not find 'model/vgg'"),
        ("+axes.model=mlp", "axes.model: found 'mlp', expected a non-empty list"),
        ("+axes.width=[1]", "axes.width: no such configuration key; known: data.augment"),
    ],
)
def test_a_mistake_is_named_with_what_was_found(tiny: str, override: str, expected: str) -> None:
    assert expected in refusal(tiny, override)


@pytest.mark.parametrize(
    "override",
    [
        "where='model.width > 1'",
        "where=[1]",
        "zip=[seed]",
        "name=null",
        "name=3",
        "axes.model.width=[1]",
        "+axes.model.width=[1]",
        "task.cells=2.5",
        "axes=3",
        "logs=null",
    ],
)
def test_a_value_of_the_wrong_shape_is_named_by_its_key(tiny: str, override: str) -> None:
    assert override.lstrip("+").partition("=")[0].partition(".")[0] in refusal(tiny, override)


@pytest.mark.parametrize("override", ["model=cnn", "seed=3", "optim.weight_decay=0.5"])
def test_an_override_that_an_axis_would_undo_is_refused(
    write_sweep: WriteSweep, override: str
) -> None:
    write_sweep("axed", "axes: {model: [mlp, cnn], optim.weight_decay: [0, 0.1]}\nseeds: [0, 1]\n")
    assert override.partition("=")[0] in refusal("axed", override)


def test_an_axis_over_what_does_not_change_the_result_is_refused(write_sweep: WriteSweep) -> None:
    write_sweep("threads", "axes: {run.threads: [1, 2]}\n")
    assert "run.threads" in refusal("threads")


def test_logs_and_name_say_where_the_runs_go(tiny: str, logs: Path) -> None:
    assert expand_sweep(tiny, [LOCAL]).folder == logs / tiny
    assert expand_sweep(tiny, [LOCAL, "name=mine"]).folder == logs / "mine"


def test_a_grid_beyond_the_limit_is_refused_with_its_size() -> None:
    axes = "+axes={model.width:{range:[1,3001,1]},optim.weight_decay:{linear:[0,1,3334]}}"
    words = ["hydra/launcher=local", "~axes", axes, "seeds=[0]"]
    with pytest.raises(UserError, match=r"the grid has 10002000 points .*limits\.cells is 300000"):
        compose.expand_sweep("smoke", words)
    with pytest.raises(UserError, match=r"limits\.cells: found 0, expected an integer"):
        compose.expand_sweep("smoke", ["hydra/launcher=local", "limits.cells=0"])
