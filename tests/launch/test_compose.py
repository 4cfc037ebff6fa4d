"""Sweeps: grids expand, mistakes are named, and a cell is the same whichever way it is reached."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import hydra
import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from launch.errors import UserError
from launch.plan import Plan
from launch.scheduler import sbatch
from launch.sweep import compose
from launch.sweep.compose import expand_sweep
from launch.sweep.request import Cell, Policy, leaves, resolved_cell

LOCAL = "hydra/launcher=local"
WriteSweep = Callable[[str, str], None]
MINIMA = (
    "swiss_roll", "spirals", "rings", "svhn", "fully_connected", "resnet20", "vgg13", "adadelta",
    "adagrad", "adamax", "amsgrad", "asgd", "nesterov", "rmsprop",
)  # fmt: skip
"""Files of data, models and optimisers that only the trainer of minima takes."""


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


LAB = """
defaults: [v100]
limits: {gpu_hours: 40}
canary: true
compact: false
notify: {command: tell}
"""


def test_a_launcher_file_sets_limits_and_what_follows_a_submission(
    tiny: str, configs: Path
) -> None:
    lab = configs / "hydra" / "launcher" / "lab.yaml"
    lab.write_text(f"# @package _global_{LAB}")
    policy = expand_sweep(tiny, ["hydra/launcher=lab"]).policy
    assert policy == Policy(gpu_hours=40, canary=True, compact=False, notify="tell")
    words = ["hydra/launcher=lab", "limits.gpu_hours=7", "canary=false"]
    assert expand_sweep(tiny, words).policy == replace(policy, gpu_hours=7, canary=False)
    lab.write_text("# @package _global_\ndefaults: [v100]\nlimits: 500\n")
    with pytest.raises(UserError, match="limits: found 500, expected a mapping"):
        expand_sweep(tiny, ["hydra/launcher=lab"])
    lab.write_text("# @package _global_\ndefaults: [submitit_slurm@hydra.launcher]\n")
    with pytest.raises(UserError, match="to its `defaults`, such as slurm or local"):
        expand_sweep(tiny, ["hydra/launcher=lab"])


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
    text = yaml.safe_load((compose.CONFIGS / group / f"{name}.yaml").read_text())
    if name == "none":
        choices = ["trainer=noop", "model=none", "data=none", "optim=none"]
    elif {text["name"], name} & {"transformer", "arithmetic"}:
        choices = ["trainer=algorithmic", f"{group}={name}"]
    elif name in MINIMA:
        choices = ["trainer=minima", f"{group}={name}"]
    else:
        choices = ["trainer=minima", f"{group}={name}"]  # takes all that `vision` takes, and more
    result = plain(*choices).flat
    assert {key for key in result if key.startswith(f"{group}.")} == {
        key for key, _ in leaves(text, f"{group}.")
    }


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


def test_an_unknown_sweep_is_answered_with_similar_or_some_names(
    logs: Path, plan_of: Callable[..., Plan]
) -> None:
    assert refusal("fig2").endswith("; did you mean fig2_ab?")
    output = refusal("xxxxxxxx")
    assert "no sweep 'xxxxxxxx'" in output
    names = sorted(path.stem for path in (compose.CONFIGS / "sweep").glob("*.yaml"))
    assert output.endswith(f"known: {', '.join(names[:12])}, ...")
    plan_of().write(logs / "trial")
    assert "logs/trial was sent from another file, with name=trial" in refusal("trial")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.widht=3", "model.widht: unknown key; did you mean model.width?"),
        ("optim.weigth_decay=3", "did you mean optim.weight_decay?"),
        ("+model.foo=3", "model.foo: unknown key"),
        ("model.heads=4", "model.heads: unknown key here: the model of this sweep has none"),
        ("axes.model.width=[4]", "replace all axes with '~axes' '+axes={KEY: VALUES, ...}'"),
        ("axes=[4]", "axes=[4]: found a list or a single value where the sweep has a mapping"),
        ("axes=[4]", "write '~axes' '+axes=[4]'"),
        ("++axes=[4]", "write '~axes' '+axes=[4]'"),
        ("+foo=3", "foo: unknown key"),
        ("trainer.epochs=many", "trainer.epochs: found 'many' (str), expected an integer"),
        ("trainer.epochs=1.5", "trainer.epochs: found 1.5 (float), expected an integer"),
        ("trainer.epochs=true", "trainer.epochs: found True (bool), expected an integer"),
        ("optim.lr=nan", "optim.lr: found nan"),
        ("optim.lr=[1,2]", "optim.lr: found [1, 2] (list), expected a number"),
        ("data.label_noise.rate=2", "data.label_noise.rate: found 2.0, expected 0.0 to 1.0"),
        ("data.label_noise=2", "data.label_noise: found 2, expected a section"),
        ("data.source_rows=[1,2]", "data.source_rows"),
        (
            "model=vgg",
            "model=vgg: no such choice; did you mean vgg13? The choices are cnn, ",
        ),
        ("trainer=vison", "trainer=vison: no such choice; did you mean vision? The choices are "),
        ("hydra/launcher=pbs", "no such choice; the choices are debug, local, slurm, v100"),
        ("hydra.launcher.timeot_min=3", "hydra.launcher.timeot_min: unknown key"),
        ("hydra.launcher=3", "hydra.launcher: found 3, expected a mapping"),
        ("task.cell=3", "task.cell: unknown key"),
        ("+task.cell=3", "task.cell: unknown key; known: cells, at_a_time, minutes, most, slots"),
        ("task.cells=0", "task.cells: found 0, expected an integer of at least 1"),
        ("task.most=null", "task.most: found None"),
        ("name=a/b", "sweep name 'a/b'"),
        (f"name={'a' * 101}", "beginning with a letter or digit, at most 100"),
        ("model.width=1,2", "Ambiguous value"),
        ("search.advance=manual", "the sweep's file does not set it; add it with +search.advance="),
        ("of.where=[seed]", "of.where: the sweep's file does not set it; add it with +of.where="),
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
        ("+axes.model=[mlp,vgg]", "model=vgg: no such choice"),
        ("+axes.model=mlp", "axes.model: found 'mlp', expected a non-empty list"),
        ("+axes.width=[1]", "axes.width: no such configuration key; did you mean model.width?"),
        (
            "+axes={optim.dropuot: [1]}",
            "axes.optim.dropuot: no such configuration key; known: optim.",
        ),
        ("+axes={zz: [1]}", "axes.zz: no such configuration key; known: data.augment"),
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


@pytest.mark.parametrize("key", ["/model", "model", "override model"])
def test_a_choice_that_overrides_nothing_is_refused_with_what_to_write(
    write_sweep: WriteSweep, key: str
) -> None:
    write_sweep("bad", f"defaults: [{{{key}: mlp}}, {{override /data: digits}}]\nseeds: [0]\n")
    expected = f"bad.yaml: defaults: found '- {key}: mlp', expected '- override /model: mlp'"
    assert expected in refusal("bad")


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


def write_lines(write_sweep: WriteSweep, *lines: str) -> str:
    """A sweep of MLPs on digits with these lines; returns its name."""
    head = "defaults: [{override /model: mlp}, {override /data: digits}, {override /optim: adam}]"
    write_sweep("bad", "\n".join((head, *lines)) + "\n")
    return "bad"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("axes: {1: [1, 2]}", "axes: found the key 1 (int), expected a configuration key"),
        ("axes: [model.width, 4]", "bad.yaml: axes: found ['model.width', 4] (list)"),
        ("axes: {model.width: [{a: 1}]}", "axes.model.width: found {'a': 1} in the list"),
        ("axes: {model: [1, 2]}", "axes.model: found 1, expected names of files in configs/model"),
        ("axes: {model.width: {log: [1, .inf, 3]}}", "axes.model.width: found {'log': [1, inf, 3]"),
        ("zip: [[[model.width]]]", "zip: found ['model.width'] in a group"),
        ("zip: {a: 1}", "bad.yaml: zip: found {'a': 1} (mapping), expected a list"),
        ("limits: null", "bad.yaml: limits: found None (null), expected a mapping"),
        ("task: 3", "bad.yaml: task: found 3 (number), expected a mapping"),
        ("model: [1]", "bad.yaml: model: found [1] (list), expected a mapping"),
        ("sweep: demo", "bad.yaml: found `sweep`, which has no effect"),
        ("seed: [0, 1]", "seed: found [0, 1], expected an integer; several are `seeds: [0, 1, 2]`"),
        ("seeds: [0, {a: 1}]", "seeds: found {'a': 1} in the list"),
        ("a: {b: [1", "bad.yaml: not valid YAML"),
        ("a: 1\na: 2", "bad.yaml: not valid YAML"),
        (f"a: {'[' * 3000}", "bad.yaml: nested too deeply"),
    ],
)
def test_a_bad_sweep_file_is_named_with_its_key(
    write_sweep: WriteSweep, lines: str, expected: str
) -> None:
    assert expected in refusal(write_lines(write_sweep, lines))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"# @package _global_\n42\n", "bad.yaml: found a number, expected a mapping"),
        (b"# @package _global_\n", "bad.yaml: no `name`"),
        (b"# @package _global_\nname: caf\xe9\n", "bad.yaml: byte 29 is not UTF-8"),
        (b"name: bad\n", "bad.yaml: its first line is 'name: bad'"),
    ],
)
def test_a_file_that_is_no_sweep_is_named(
    write_sweep: WriteSweep, content: bytes, expected: str
) -> None:
    write_lines(write_sweep)
    (compose.CONFIGS / "sweep" / "bad.yaml").write_bytes(content)
    assert expected in refusal("bad")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("=3", "override '=3': "),
        ("seeds=[0,1", "override 'seeds=[0,1': "),
        ("model=3", "override 'model=3': found 3, expected the name of a file in configs/model"),
        ("~name", "name: removed by ~name"),
        ("~limits", "limits: removed by ~limits"),
        ("sweep=demo", "sweep=demo: the sweep is tiny"),
        ("task.foo=1", "task.foo: unknown key; known: cells, at_a_time"),
        ("limits.x=1", "limits.x: unknown key; known: gpu_hours, cells"),
        ("limits.gpu_hours=nan", "limits.gpu_hours: found nan"),
        ("run.checkpoint_seconds=inf", "run.checkpoint_seconds: found inf"),
        ("limits=null", "limits: found None"),
    ],
)
def test_a_bad_override_is_named(tiny: str, override: str, expected: str) -> None:
    assert expected in refusal(tiny, override)


@pytest.mark.parametrize(
    ("written", "override", "seeds"),
    [
        ("{range: [0, 9, 1]}", "seeds=[4,5]", [4, 5]),
        ("[0, 1]", "seeds={range:[0,3,1]}", [0, 1, 2]),
        ("{range: [0, 9, 1]}", "seeds={range:[5,7,1]}", [5, 6]),
        ("null", "seeds=[7]", [7]),
    ],
)
def test_seeds_on_the_command_line_replace_those_of_the_sweep(
    write_sweep: WriteSweep, written: str, override: str, seeds: list[int]
) -> None:
    sweep = write_lines(write_sweep, f"seeds: {written}")
    assert [cell.flat["seed"] for cell in cells(sweep, override)] == seeds


@pytest.mark.parametrize("is_override", [False, True])
def test_a_value_that_refers_to_an_axis_has_its_value(
    write_sweep: WriteSweep, plain: Callable[..., Cell], is_override: bool
) -> None:
    tie = "optim: {weight_decay: '${optim.lr}'}"
    axis = "axes: {optim.lr: [0.1, 0.01]}"
    overrides = ["optim.weight_decay=${optim.lr}"] if is_override else []
    sweep = write_lines(write_sweep, axis, "seeds: [0]", "" if is_override else tie)
    grid = {cell.flat["optim.lr"]: cell for cell in cells(sweep, *overrides)}
    assert [cell.flat["optim.weight_decay"] for cell in grid.values()] == [0.1, 0.01]
    for rate, cell in grid.items():
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(compose.CONFIGS), version_base="1.3"):
            alone = plain(f"sweep={sweep}", "~axes", f"optim.lr={rate}", *overrides)
        assert alone.id == cell.id


def test_a_value_may_refer_to_the_seed_and_through_another_value(write_sweep: WriteSweep) -> None:
    lines = (
        "axes: {optim.lr: [0.1, 0.01]}",
        "seeds: [3, 4]",
        "optim: {weight_decay: '${optim.eps}', eps: '${.lr}'}",
        "data: {sample_seed: '${seed}'}",
    )
    for cell in cells(write_lines(write_sweep, *lines)):
        assert cell.flat["optim.weight_decay"] == cell.flat["optim.lr"]
        assert cell.flat["data.sample_seed"] == cell.flat["seed"]


def test_a_value_that_refers_to_the_axis_of_a_search_is_refused(write_sweep: WriteSweep) -> None:
    lines = (
        "seeds: [0, 1]",
        "search: {axis: data.train_samples, success: 'fitted == true', range: [16, 64]}",
        "trainer: {batch_size: '${data.train_samples}'}",
    )
    message = refusal(write_lines(write_sweep, *lines))
    assert "trainer.batch_size" in message
    assert "the search decides" in message


def test_cells_of_a_grid_equal_cells_that_are_resolved_alone(write_sweep: WriteSweep) -> None:
    lines = (
        "axes: {model: [mlp, cnn], model.width: [1, 2], optim.lr: [1, 0.5], optim.eps: [1, 2]}",
        "seeds: [0, 1]",
    )
    grid = cells(write_lines(write_sweep, *lines))
    assert len(grid) == 32
    for cell in grid:
        alone = resolved_cell(dict(cell.flat))
        assert alone.id == cell.id
        assert list(alone.flat.items()) == list(cell.flat.items())


@pytest.mark.parametrize(
    ("model", "size", "is_refused"),
    [("resnet18_post", 499, True), ("resnet18_post", 500, False), ("cnn", 499, False)],
)
def test_a_last_batch_of_one_image_is_refused_where_batch_norm_fails(
    write_sweep: WriteSweep, model: str, size: int, is_refused: bool
) -> None:
    sweep = write_lines(write_sweep, "seeds: [0]")
    overrides = (f"model={model}", f"trainer.batch_size={size}")
    if is_refused:
        assert "found 499 with 999 training images" in refusal(sweep, *overrides)
    else:
        assert len(cells(sweep, *overrides)) == 1


@pytest.mark.parametrize("file", ["noop.yaml", "configs/sweep/noop.yaml"])
def test_the_file_of_a_sweep_is_answered_with_its_name(file: str) -> None:
    with pytest.raises(UserError, match=r"leave out \.yaml and the folder: noop$"):
        expand_sweep(file, [])


def test_a_name_that_reads_as_a_number_is_to_be_quoted() -> None:
    with pytest.raises(UserError, match=r"found 1000\.0 \(float\), .*'name=\"1e3\"'$"):
        expand_sweep("noop", ["hydra/launcher=local", "name=1e3"])
    assert expand_sweep("noop", ["hydra/launcher=local", 'name="1e3"']).name == "1e3"


@pytest.mark.parametrize("name", ["calibration", "index.html"])
def test_a_name_that_the_logs_reserve_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"sweep name '{name}': it is the .*; choose another name"):
        expand_sweep("noop", ["hydra/launcher=local", f"name={name}"])
