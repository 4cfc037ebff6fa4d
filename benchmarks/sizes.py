"""Count the parameters of networks and the rows of tables whose size is published.

    python benchmarks/sizes.py [--out docs/results]

Each is that of the first cell of a shipped sweep, with the overrides that SIZES names. Prints the
counts and writes sizes.json. docs/published.yaml has the published ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from launch.sweep import compose
from trainers import config, models
from trainers.data import arithmetic
from trainers.models.transformer import Transformer

INPUTS = {  # channels, size, classes
    "cifar10": (3, 32, 10),
    "svhn": (3, 32, 10),
    "swiss_roll": (2, 1, 2),
    "spirals": (2, 1, 2),
    "rings": (2, 1, 2),
}


def network(cell: Any) -> nn.Module:
    """The network of a cell, without memory for its weights."""
    with torch.device("meta"):
        if isinstance(cell.model, config.Transformer):
            elements = arithmetic.elements(cell.data)
            sequence = cell.data.sequence.split()
            return Transformer(cell.model, sequence, elements, cell.data.vocabulary)
        return models.build(cell.model, *INPUTS[cell.data.name])


def parameters(cell: Any) -> int:
    """Weights and biases, and scales and shifts of norms."""
    return sum(parameter.numel() for parameter in network(cell).parameters())


def weights(cell: Any) -> int:
    """The entries of matrices alone, without biases."""
    matrices = [parameter for parameter in network(cell).parameters() if parameter.dim() > 1]
    return sum(parameter.numel() for parameter in matrices)


def inner_parameters(cell: Any) -> int:
    """The parameters of a transformer without its embedding and its output matrix."""
    model = network(cell)
    assert isinstance(model, Transformer)
    outer = model.embedding.weight.numel() + model.output.weight.numel()
    return sum(parameter.numel() for parameter in model.parameters()) - outer


def features(cell: Any) -> int:
    """The inputs of the last layer."""
    layers = [module for module in network(cell).modules() if isinstance(module, nn.Linear)]
    return layers[-1].in_features


def rows(cell: Any) -> int:
    """The rows of the whole table of an operation."""
    return len(arithmetic.table(cell.data))


def training_rows(cell: Any) -> int:
    """The rows of the table that are trained on."""
    return len(arithmetic.split(cell.data, cell.seed).train)


@dataclass(frozen=True)
class Size:
    """What is counted of the first cell of a sweep with overrides."""

    name: str
    sweep: str
    count: Callable[[Any], int]
    overrides: tuple[str, ...] = ()


ADDITION = ("~axes", "data.operation=x+y")
SIZES = [
    Size("fig2_ab: parameters", "fig2_ab", parameters, ("~axes",)),
    Size("model_wise, width 64: parameters", "model_wise", parameters, ("~axes", "model.width=64")),
    Size("grok_fig1: inner parameters", "grok_fig1", inner_parameters),
    Size("grok_fig1: parameters", "grok_fig1", parameters, ("data.vocabulary=239",)),
    Size("grok_fig1: rows of division mod 97", "grok_fig1", rows),
    Size("grok_operations: rows of x+y mod 97", "grok_operations", rows, ADDITION),
    Size("grok_data_fraction: rows of S5", "grok_data_fraction", rows, ("~axes",)),
    Size("grok_progress: rows", "grok_progress", rows),
    Size("grok_progress: training rows", "grok_progress", training_rows),
    Size("swiss_roll: parameters", "swiss_roll", parameters),
    Size("swiss_roll: weights", "swiss_roll", weights),
    Size("minefield: parameters", "minefield", parameters),
    Size("rings: parameters", "rings", parameters),
    Size("svhn: parameters", "svhn", parameters),
    Size("linear_vs_net: features", "linear_vs_net", features, ("~axes", "model=quadratic")),
]  # fmt: skip


def first_cell(size: Size) -> Any:
    """The typed configuration of the first cell of a sweep."""
    request = compose.expand_sweep(size.sweep, ["hydra/launcher=local", *size.overrides])
    return config.parse(request.cells[0].flat)


def main() -> None:
    """Count, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", default="figures", help="folder for the file (default: figures)")
    options = parser.parse_args()
    counts = {size.name: size.count(first_cell(size)) for size in SIZES}
    for name, count in counts.items():
        print(f"{name:40s} {count:>10,}")
    path = Path(options.out) / "sizes.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(counts, indent=1) + "\n")
    print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
