"""Optimisers: what they import, those of torch and of a package of its own, and milestones."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from vision_runs import after, assert_same_bits, assert_same_rows, rows, train, with_changes

from trainers import config, optim
from trainers.config import Schedule
from trainers.run import Run
from trainers.vision import METRICS, Training

Begin = Callable[..., Run]
Flat = Mapping[str, Any]

SHAMPOO = {"optim.name": "shampoo", "optim.lr": 0.1, "optim.momentum": 0.5, "optim.eps": 1e-6,
           "optim.weight_decay": 1e-3, "optim.every": 2}  # fmt: skip
SOAP = {"optim.name": "soap", "optim.lr": 0.01, "optim.momentum": ..., "optim.beta1": 0.9,
        "optim.beta2": 0.95, "optim.eps": 1e-8, "optim.weight_decay": 1e-3,
        "optim.every": 2}  # fmt: skip
CONVNET = {"model.name": "convnet", "model.width": 2, "model.depth": ..., "model.stages": 2,
           "model.blocks": 1, "model.down": "stride", "model.norm": "none",
           "model.activation": "relu"}  # fmt: skip
KINDS = {
    f"{model} {name}": changes | shape
    for name, changes in (("shampoo", SHAMPOO), ("soap", SOAP))
    for model, shape in (("mlp", {}), ("convnet", CONVNET))
}


@pytest.fixture
def package() -> Any:
    """The package, or a skip where the extra is not installed."""
    return pytest.importorskip("pytorch_optimizer")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_after_every_step_ends_with_the_same_bits(
    begin: Begin, flat: Flat, package: Any, kind: str
) -> None:
    cell = with_changes(flat, KINDS[kind])
    calm = begin(METRICS, flat=cell, cell="c1-calm")
    _, state = train(calm)
    curve = rows(calm).assign(cell="")
    outcome, attempt = "stopped", 0
    while outcome == "stopped":
        attempt += 1
        run = begin(METRICS, attempt, flat=cell, cell="c1-often", stop=after(1))
        outcome, end = train(run)
    assert attempt == 9
    assert_same_bits(end, state)
    assert_same_rows(rows(run).assign(cell=""), curve)


def test_the_optimisers_have_the_settings_of_the_cell(
    begin: Begin, flat: Flat, package: Any
) -> None:
    def group(changes: Mapping[str, Any]) -> dict[str, Any]:
        cell = config.parse(with_changes(flat, changes))
        (settings,) = Training(cell, begin(METRICS)).optimiser.param_groups
        return dict(settings)

    shampoo, soap = group(SHAMPOO), group(SOAP)
    assert (shampoo["momentum"], shampoo["matrix_eps"], shampoo["weight_decay"]) == (
        0.5,
        1e-6,
        1e-3,
    )
    assert (soap["betas"], soap["eps"], soap["weight_decay"]) == ((0.9, 0.95), 1e-8, 1e-3)
    assert soap["precondition_frequency"] == 2


def test_shampoo_renews_its_inverse_roots_every_so_many_steps(package: Any) -> None:
    """Before the first renewal they are zero, and nothing moves."""
    schedule = config.Schedule("constant", 1, 1.0, 0)
    weight = torch.nn.Parameter(torch.ones(2, 3))
    shampoo = config.Shampoo("shampoo", 0.1, 0.0, 1e-6, 0.0, 3, schedule)
    optimiser = optim.build(shampoo, [weight])
    moved = []
    for _ in range(4):
        before = weight.detach().clone()
        weight.grad = torch.ones(2, 3)
        optimiser.step()
        moved.append(not torch.equal(weight, before))
    assert moved == [False, False, True, True]


@pytest.mark.parametrize("changes", [SHAMPOO, SOAP], ids=["shampoo", "soap"])
def test_without_the_package_the_message_says_what_to_install(
    begin: Begin, flat: Flat, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    real = importlib.import_module

    def missing(name: str) -> Any:
        if name == "pytorch_optimizer":
            raise ImportError("No module named 'pytorch_optimizer'")
        return real(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    cell = config.parse(with_changes(flat, changes))
    with pytest.raises(
        RuntimeError, match=r"optim\.name=.*pip install 'pytorch-optimizer>=4\.1,<5'"
    ):
        Training(cell, begin(METRICS))


@pytest.mark.parametrize("changes", [SHAMPOO, SOAP], ids=["shampoo", "soap"])
def test_a_diverging_run_is_a_result(
    begin: Begin, flat: Flat, package: Any, changes: dict[str, Any]
) -> None:
    run = begin(
        METRICS,
        flat=with_changes(
            flat, changes | {"optim.lr": 1e30, "optim.every": 1, "trainer.batch_size": 4}
        ),
    )
    outcome, _ = train(run)
    assert outcome == "nonfinite"


def test_a_decomposition_that_fails_on_finite_matrices_is_an_error(
    package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = torch.ones(3, 2, requires_grad=True)
    optimiser = optim.build(config.Shampoo("shampoo", 0.1, 0.0, 1e-6, 0.0, 1, SCHEDULE), [weight])

    def fails(*_: object, **__: object) -> None:
        raise torch.linalg.LinAlgError("no convergence")

    weight.sum().backward()
    monkeypatch.setattr(torch.linalg, "svd", fails)
    with pytest.raises(torch.linalg.LinAlgError, match="no convergence"):
        optimiser.step()
    assert torch.isfinite(weight).all()


STEPS = """
import sys, torch
from trainers import config, optim, precision, vision
precision.set_numerics(deterministic=False, threads=1)
weight = torch.ones(3, requires_grad=True)
for settings in (
    config.SGD("sgd", 0.1, 0.9, 0.0, None),
    config.Adam("adamw", 0.1, 0.0, 0.9, 0.99, 1e-8, "zero", 0.0, None),
):
    optimiser = optim.build(settings, [weight])
    weight.sum().backward()
    optimiser.step()
    optimiser.load_state_dict(optimiser.state_dict())
    optimiser.zero_grad()
unwanted = ("torch._dynamo", "torch._inductor", "scipy", "sklearn")
print([name for name in unwanted if name in sys.modules])
"""


def test_a_process_that_trains_imports_no_compiler() -> None:
    process = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True)
    assert process.stdout.strip() == "[]", process.stderr


SCHEDULE = Schedule("constant", 1, 0.1, 0)


@pytest.mark.parametrize(
    ("settings", "kind", "expected"),
    [
        (config.Nesterov("nesterov", 0.1, 0.9, 1e-3, SCHEDULE), torch.optim.SGD,
         {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3, "nesterov": True}),
        (config.RMSprop("rmsprop", 0.1, 0.9, 1e-6, 0.5, 0.0, SCHEDULE), torch.optim.RMSprop,
         {"alpha": 0.9, "eps": 1e-6, "momentum": 0.5}),
        (config.AdamLike("amsgrad", 0.1, 0.8, 0.9, 1e-6, 0.0, SCHEDULE), torch.optim.Adam,
         {"amsgrad": True, "betas": (0.8, 0.9), "eps": 1e-6}),
        (config.AdamLike("adamax", 0.1, 0.8, 0.9, 1e-6, 0.0, SCHEDULE), torch.optim.Adamax,
         {"betas": (0.8, 0.9)}),
        (config.Adagrad("adagrad", 0.1, 1e-6, 0.0, SCHEDULE), torch.optim.Adagrad, {"eps": 1e-6}),
        (config.Adadelta("adadelta", 5.0, 0.5, 1e-6, 0.0, SCHEDULE), torch.optim.Adadelta,
         {"lr": 5.0, "rho": 0.5}),
        (config.ASGD("asgd", 0.1, 1e-4, 0.75, 0.0, SCHEDULE), torch.optim.ASGD,
         {"lambd": 1e-4, "alpha": 0.75}),
    ],
)  # fmt: skip
def test_optimisers_of_torch_get_the_settings_of_the_cell(
    settings: Any, kind: type, expected: dict[str, Any]
) -> None:
    optimiser = optim.build(settings, [torch.zeros(2, 2, requires_grad=True)])
    assert type(optimiser).__base__ is kind
    (group,) = optimiser.param_groups
    assert {key: group[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("unit", "step", "expected"),
    [
        ("steps", 1, 0.8), ("steps", 2, 0.08), ("steps", 4, 0.08), ("steps", 5, 0.008),
        ("epochs", 19, 0.8), ("epochs", 20, 0.08), ("epochs", 44, 0.08), ("epochs", 45, 0.008),
    ],
)  # fmt: skip
def test_the_rate_falls_at_every_milestone(unit: Any, step: int, expected: float) -> None:
    schedule = config.Milestones("milestones", (2.0, 4.5), 0.1, unit, warmup=0)
    rate = optim.learning_rate(0.8, schedule, step, total_steps=100, epoch_steps=10)
    assert rate == pytest.approx(expected)
