"""Image classifiers whose width is the model-wise axis of double descent, built from their typed
settings.

Nothing here seeds: parameters are drawn with PyTorch's default initialisation from the global
generator, which the caller seeds from the cell's "init" stream.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trainers.config import ConfigError, Kind, entry
from trainers.config.kinds import check_returned, is_import_path, torch_defaults


def build(config: Kind, channels: int, size: int, classes: int) -> nn.Module:
    """The model of `config`, from float inputs (n, c, size, size) to logits (n, classes).

    The features of a table are inputs of one pixel, a channel for each feature. Raises ConfigError
    if a model of the user's has other outputs, or parameters that cannot be trained.
    """
    with torch_defaults():
        network: nn.Module = entry(config)(config, channels, size, classes)
    if is_import_path(config.name):
        check_module(config, network)
        _check_outputs(config, network, (channels, size, size), classes)
    return network


def check_module(config: Kind, network: Any) -> None:
    """Raise ConfigError unless the entry of a model returned one, with real parameters."""
    check_returned(config, network, nn.Module, "an nn.Module")
    for name, parameter in network.named_parameters():
        if not parameter.is_floating_point():
            dtype = str(parameter.dtype).removeprefix("torch.")
            raise ConfigError(
                f"{config.entry}: found the parameter {name} of type {dtype}, expected a "
                "floating-point type: register what is not trained as a buffer"
            )


def channels_last(network: nn.Module) -> nn.Module:
    """The network with its weights in the layout of the inputs, which is faster; as it is where a
    weight of five dimensions, such as that of Conv3d, has no such layout.
    """
    tensors = (*network.parameters(), *network.buffers())
    if any(tensor.dim() == 5 for tensor in tensors):
        return network
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _check_outputs(config: Kind, network: nn.Module, shape: tuple[int, ...], classes: int) -> None:
    """Raise ConfigError unless `network` maps two inputs of a shape (c, h, w) to logits.

    An output too many would train without a word: it is never the right answer.
    """
    parameter = next(network.parameters(), torch.empty(0))
    logits = _evaluated(network, torch.zeros(2, *shape, device=parameter.device))
    is_tensor = isinstance(logits, torch.Tensor)
    output = tuple(logits.shape) if is_tensor else f"a {type(logits).__name__}"
    if output != (2, classes):
        raise ConfigError(
            f"{config.entry}: found output {output}, expected {(2, classes)}: a row for each "
            "sample, a column for each class"
        )


def _evaluated(network: nn.Module, inputs_bchw: torch.Tensor) -> Any:
    """The output of a network in evaluation mode, which leaves batch norm's statistics alone."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    with torch.no_grad():
        output = network(inputs_bchw)
    for module, is_training in modes:
        module.training = is_training
    return output
