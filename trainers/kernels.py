"""Check torch's kernels: every layer of our models, forward and backward, against float64.

    python -m trainers.kernels [--widths 3] [--sample 60] [--seed 0] [--repeats 2] [--given]

A kernel can fail for one shape on one kind of processor: it computes wrong numbers or writes
outside its tensors. The shapes are those that the models use: the models run once, and every call
of a layer is recorded. Prints one JSON object per line: `{"begun": NAME}` before a case, so that a
crash names its case, and `{"name": NAME, "error": E, "wrong": W}` after it. `--given` reads the
cases from standard input, as benchmarks/kernels.py does to search all.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from trainers import config, models, precision
from trainers.models.linear import linear
from trainers.models.transformer import Transformer

Operation = Literal["conv2d", "linear", "batch_norm", "layer_norm", "max_pool2d", "mean"]
Format = Literal["float32", "bfloat16"]
FORMATS: tuple[Format, ...] = ("float32", "bfloat16")

WIDTHS = (*range(1, 17), 64)
IMAGES = ((128, 1, 8), (128, 3, 8), (13, 3, 8), (5, 3, 32))
"""Images of a batch, channels, rows and columns. 13 and 5 are sizes of an epoch's last batch."""
ROWS = (13, 512)
"""Rows of a transformer's batch."""
LIMITS = {"float32": 1e-4, "bfloat16": 0.15}
"""The largest error that rounding explains, as a share of the largest number of the exact result.

Some kernels add up a gradient over the batch in bfloat16.
"""

SMALL = 0.1
"""Inputs, weights and output gradients are of order 1."""


@dataclass(frozen=True)
class Case:
    """One call of a layer: the shapes of its input and weight, their strides in memory, and its
    settings.
    """

    operation: Operation
    input: tuple[int, ...]
    input_strides: tuple[int, ...]
    weight: tuple[int, ...] = ()
    weight_strides: tuple[int, ...] = ()
    bias: bool = False
    stride: int = 1
    padding: int = 0
    window: int = 0
    format: Format = "float32"

    @property
    def name(self) -> str:
        """The case in one line."""
        words: list[str] = [self.operation, _placed(self.input, self.input_strides)]
        if self.weight:
            words.append(f"weight {_placed(self.weight, self.weight_strides)}")
        for key in ("bias", "stride", "padding", "window"):
            if getattr(self, key) != getattr(Case, key):
                words.append(f"{key} {int(getattr(self, key))}")
        return " ".join([*words, self.format])

    @property
    def limit(self) -> float:
        """The largest error that rounding explains. A layer norm over one or two numbers divides by
        almost zero.
        """
        divides = self.operation == "layer_norm" and self.weight[0] < 3
        return LIMITS["bfloat16" if divides else self.format]


def cases(widths: Sequence[int] = WIDTHS) -> list[Case]:
    """Every call of a layer that our models of these widths make, in both memory formats and both
    number formats.
    """
    calls: dict[Case, None] = {}
    for width in widths:
        calls |= dict.fromkeys(_calls(width))
    return [dataclasses.replace(call, format=kind) for call in calls for kind in FORMATS]


def strided() -> list[Case]:
    """Strided 1x1 convolutions, which our models avoid: on some processors oneDNN's backward pass
    corrupts memory.
    """
    results = []
    for width, (batch, _, size) in itertools.product(range(1, 10), IMAGES[1:3]):
        x = torch.empty(batch, width, size, size, device="meta")
        weight = torch.empty(2 * width, width, 1, 1, device="meta")
        x, weight = (t.to(memory_format=torch.channels_last) for t in (x, weight))
        results.append(Case("conv2d", *_layout(x), *_layout(weight), stride=2))
    return results


def check(case: Case, seed: int = 0, repeats: int = 1) -> float:
    """The largest error of outputs and gradients, each as a share of the largest number of its
    float64 counterpart.

    Smaller numbers are replaced by SMALL. Infinite if a number is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = [_rounded(t, case.format) for t in _tensors(case, generator)]
    exact = [t.double().requires_grad_() for t in tensors]
    right = _layer(case)(*exact)
    weights = _rounded(torch.randn(right.shape, generator=generator), case.format)
    expected = [right, right, *torch.autograd.grad(right, exact, weights.double())]
    worst = 0.0
    for _ in range(repeats):
        values = _values(case, tensors, weights)
        worst = max(worst, *(_error(a, b) for a, b in zip(values, expected, strict=True)))
    return worst


def _values(case: Case, tensors: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    """Outputs in evaluation and in training mode, and the gradients of the weighted sum of the
    latter.
    """
    placed = [_in_memory(tensors[0], case.input_strides).to(getattr(torch, case.format))]
    for parameter in tensors[1:]:
        is_matrix = parameter.dim() > 1
        strides = case.weight_strides if is_matrix else parameter.stride()
        placed.append(_in_memory(parameter, strides))
    inputs = [t.requires_grad_() for t in placed]
    with precision.autocast(case.format, torch.device("cpu")):
        with torch.no_grad():
            evaluated = _layer(case)(*inputs)
        output = _layer(case)(*inputs)
    return [evaluated, output, *torch.autograd.grad((output * weights).sum(), inputs)]


def _layer(case: Case) -> Callable[..., Tensor]:
    def layer(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        match case.operation:
            case "batch_norm":
                return functional.batch_norm(x, None, None, weight, bias, training=True)
            case "layer_norm":
                return functional.layer_norm(x, case.weight, weight, bias)
            case "max_pool2d":
                return functional.max_pool2d(x, case.window)
            case "mean":
                return x.mean((2, 3))
        assert weight is not None
        if case.operation == "linear":
            return linear(x, weight, bias)
        return functional.conv2d(x, weight, bias, stride=case.stride, padding=case.padding)

    return layer


def _tensors(case: Case, generator: torch.Generator) -> Iterator[Tensor]:
    if case.operation == "max_pool2d":
        yield _without_ties(case, generator)
    else:
        yield torch.randn(case.input, generator=generator)
    if case.weight:
        yield torch.randn(case.weight, generator=generator)
    if case.bias:
        yield torch.randn(case.weight[:1], generator=generator)


def _without_ties(case: Case, generator: torch.Generator) -> Tensor:
    """Whole numbers, all different within a window: between equal ones, it is undefined which gets
    the gradient.
    """
    *images, rows, columns = case.input
    row, column = (torch.arange(size) % case.window for size in (rows, columns))
    place = row[:, None] * case.window + column
    offset = torch.randint(case.window**2, (*images, 1, 1), generator=generator)
    return ((place + offset) % case.window**2).float()


def _rounded(tensor: Tensor, kind: Format) -> Tensor:
    """Numbers that the format represents exactly: only what the layer itself rounds is an error."""
    return tensor.to(getattr(torch, kind)).float()


def _layout(tensor: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape and strides."""
    return tuple(tensor.shape), tensor.stride()


def _in_memory(tensor: Tensor, strides: tuple[int, ...]) -> Tensor:
    """A copy with these strides."""
    return torch.empty_strided(tensor.shape, strides).copy_(tensor)


def _error(value: Tensor, exact: Tensor) -> float:
    """Gradients that cancel, such as those of a layer norm over two numbers, are compared with
    SMALL instead.
    """
    largest = exact.detach().abs().max().clamp_min(SMALL)
    error = float((value.detach().double() - exact.detach()).abs().max() / largest)
    return error if math.isfinite(error) else math.inf


class _Recorder(TorchFunctionMode):
    """Records every call of a layer, with the layout of its tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Case] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = _call(getattr(func, "__name__", ""), args)
        if call is not None:
            self.calls.append(call)
            if call.operation == "batch_norm":
                # on the meta device its shape takes longer than its numbers elsewhere
                return torch.empty_like(args[0])
        return func(*args, **(kwargs or {}))


def _call(function: str, args: Sequence[Any]) -> Case | None:
    """The case of a call; None for a function that is no layer."""
    if function not in get_args(Operation):
        return None
    x = args[0]
    place = _layout(x)
    match function:
        case "conv2d":
            _, weight, bias, (stride, _), (padding, _), *_ = args
            layout, has_bias = _layout(weight), bias is not None
            return Case("conv2d", *place, *layout, has_bias, stride=stride, padding=padding)
        case "linear":
            _, weight, bias = args
            return Case("linear", *place, *_layout(weight), bias is not None)
        case "batch_norm":
            return Case("batch_norm", *place, (x.shape[1],), (1,), bias=True)
        case "layer_norm":
            return Case("layer_norm", *place, (x.shape[-1],), (1,), bias=True)
        case "max_pool2d":
            return Case("max_pool2d", *place, window=args[1])
    return Case("mean", *place) if x.dim() == 4 else None


def _calls(width: int) -> Iterator[Case]:
    """The calls of all models of a width. Images pass on the meta device, where nothing is
    computed.
    """
    settings: tuple[Any, ...] = (
        config.ResNet18("resnet18", "preactivation", width),
        config.ResNet18("resnet18", "postactivation", width),
        config.CNN5("cnn5", width),
        config.MLP("mlp", width, 2, "relu"),
    )
    layouts = (torch.channels_last, torch.contiguous_format)
    for setting, (batch, channels, size) in itertools.product(settings, IMAGES):
        with torch.device("meta"):
            model = models.build(setting, channels, size, 10)
            x = torch.empty(batch, channels, size, size)
        for layout in layouts:
            model.to(memory_format=layout)  # type: ignore[call-overload]
            with _Recorder() as recorder:
                model(x.to(memory_format=layout))
            yield from recorder.calls
    for rows in ROWS:
        yield from _transformer_calls(width, "all", rows)
        yield from _transformer_calls(width, "feedforward", rows)


def _transformer_calls(width: int, biases: Literal["feedforward", "all"], rows: int) -> list[Case]:
    """On the CPU, as the layout of a batch depends on its tokens; under autocast every product is a
    call of torch's.
    """
    settings = config.Transformer(
        name="transformer",
        width=width,
        depth=3,
        heads=math.gcd(width, 4),
        feedforward=4,
        norm="pre",
        final_norm="auto",
        activation="relu",
        positions="learned",
        biases=biases,
        tied=False,
        init="torch",
        attention_init="auto",
        dropout_attention=0.0,
        dropout_residual=0.0,
        dropout_hidden=0.0,
    )
    first, right = torch.arange(rows) % 97, torch.arange(rows) // 97
    model = Transformer(settings, ("a", "o", "b", "="), 97, None)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), _Recorder() as recorder:
        model(first, right)
    calls: list[Case] = recorder.calls
    return calls


def _placed(shape: tuple[int, ...], strides: tuple[int, ...]) -> str:
    text = "x".join(map(str, shape))
    empty = torch.empty(shape, device="meta")
    if strides == empty.stride():
        return text
    if len(shape) == 4 and strides == empty.to(memory_format=torch.channels_last).stride():
        return f"{text} channels-last"
    return f"{text} strides {','.join(map(str, strides))}"


def main() -> None:
    """Check the requested cases, one after another."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    widths = "of the models (default: 1 to 16, 64)"
    add("--widths", type=int, nargs="+", default=WIDTHS, help=widths)
    add("--sample", type=int, help="draw this many of the cases at random")
    add("--seed", type=int, default=0)
    add("--repeats", type=int, default=2, help="times a case is computed (default: 2)")
    add("--given", action="store_true", help="cases from standard input, as JSON")
    options = parser.parse_args()
    precision.set_numerics(False, 1)
    selection = read(sys.stdin.read()) if options.given else cases(options.widths)
    if options.sample is not None:
        count = min(options.sample, len(selection))
        selection = random.Random(options.seed).sample(selection, count)
    for case in selection:
        print(json.dumps({"begun": case.name}), flush=True)
        error = check(case, options.seed, options.repeats)
        wrong = error > case.limit
        print(json.dumps({"name": case.name, "error": error, "wrong": wrong}), flush=True)


def read(text: str) -> list[Case]:
    """Cases from their JSON."""
    rows: list[dict[str, Any]] = json.loads(text)
    for row in rows:
        row.update({key: tuple(value) for key, value in row.items() if isinstance(value, list)})
    return [Case(**row) for row in rows]


def to_json(all_cases: Sequence[Case]) -> str:
    """The JSON of cases."""
    return json.dumps([dataclasses.asdict(case) for case in all_cases])


if __name__ == "__main__":
    main()
