"""The gradient of a training step as one CUDA graph.

A processor takes longer to launch the kernels of a small network than the GPU to run them. A CUDA
graph records the kernels of one step, and launches all of them at once in later steps. They are
the same kernels, so the results keep their bits.

A recording repeats what the GPU did, not what Python did: a step that counts its calls, branches on
values or waits for the GPU cannot be recorded, nor one whose optimiser keeps gradients, as the next
step overwrites them. What is shipped does none of this, except for Shampoo. Steps with models,
optimisers or trainers of the user are recorded if these say `cuda_graph = True`.
"""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainers.config import Kind
from trainers.config.kinds import is_import_path

log = logging.getLogger(__name__)

WARM_UP = 3
"""Steps before a recording: libraries choose their algorithms in them, models are compiled."""

RECORDINGS = 4
"""Most recordings of a training. It needs one for each size of its batches."""

Gradient = Callable[..., tuple[Tensor, ...]]
"""Adds a gradient to that of the parameters; maps tensors to tensors."""

Shapes = tuple[torch.Size, ...]


@dataclass(frozen=True)
class Recording:
    """The kernels of one step, and the memory that they read and write."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    gradients: list[Tensor | None]

    def replay(self, inputs: tuple[Tensor, ...]) -> None:
        """Compute outputs and gradients from other inputs, in place."""
        for place, value in zip(self.inputs, inputs, strict=True):
            place.copy_(value)
        self.graph.replay()


def can_record(device: torch.device, *parts: tuple[Kind, object]) -> bool:
    """Whether steps can be recorded on a device, by what takes part in them: settings, and the
    object that was built from them.
    """
    if device.type != "cuda" or _unended:
        return False
    for settings, part in parts:
        is_shipped = not is_import_path(settings.name)
        if not getattr(part, "cuda_graph", is_shipped):
            return False
    return True


class RecordedGradient:
    """Computes the gradients of a training, from recordings where these are possible."""

    def __init__(self, model: nn.Module, can_record: bool) -> None:
        self.model, self.parameters = model, list(model.parameters())
        self.can_record = can_record
        self.steps: Counter[Shapes] = Counter()
        self.recordings: dict[Shapes, Recording] = {}
        self.kept: list[Tensor] = []
        self.addresses: list[int] = []
        if self.can_record:
            # the memory of an earlier training's recordings is of no use to this one before its own
            torch.cuda.empty_cache()
        # Recordings share memory, as only one step runs at a time.
        self.pool: Any = torch.cuda.graph_pool_handle() if self.can_record else None

    def __call__(self, gradient: Gradient, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What `gradient(*inputs)` returns; the next call may overwrite it.

        The parameters have no gradients before. `gradient` depends on nothing else that changes
        from step to step, except for parameters and buffers, which change in place.
        """
        recording = self._recording(gradient, inputs) if self.can_record else None
        if recording is None:
            return gradient(*inputs)
        recording.replay(inputs)
        for parameter, value in zip(self.parameters, recording.gradients, strict=True):
            parameter.grad = value
        return recording.outputs

    def _recording(self, gradient: Gradient, inputs: tuple[Tensor, ...]) -> Recording | None:
        """The recording for inputs of these shapes, made now if it is due; None for a step without
        one.
        """
        if not self.steps:
            # Their memory is kept, so that nothing else can have the same addresses.
            self.kept = [tensor.detach() for tensor in self._state()]
            self.addresses = _addresses(self.kept)
        shapes = tuple(value.shape for value in inputs)
        recording = self.recordings.get(shapes)
        if recording is None:
            return self._record(gradient, inputs) if self._is_due(shapes) else None
        if _addresses(self.parameters) != self.addresses[: len(self.parameters)]:
            self._give_up(_REPLACED)
            return None
        return recording

    def _state(self) -> Iterable[Tensor]:
        """The tensors of the network that have an address: its parameters first."""
        buffers = (buffer for buffer in self.model.buffers() if buffer.layout == torch.strided)
        return *self.model.parameters(), *buffers

    def _is_due(self, shapes: Shapes) -> bool:
        """Whether to record a step with inputs of these shapes now."""
        self.steps[shapes] += 1
        return self.steps[shapes] > WARM_UP and len(self.recordings) < RECORDINGS

    def _record(self, gradient: Gradient, inputs: tuple[Tensor, ...]) -> Recording | None:
        """Record a step without running it; None, after a warning, if that fails."""
        if _addresses(self._state()) != self.addresses:
            self._give_up(_REPLACED)
            return None
        places = tuple(torch.empty_like(value) for value in inputs)
        try:
            graph, outputs = _record_on_gpu(gradient, places, self.pool)
        except RuntimeError as error:
            self._give_up(error)
            return None
        gradients = [parameter.grad for parameter in self.parameters]
        recording = Recording(graph, places, outputs, gradients)
        self.recordings[tuple(value.shape for value in inputs)] = recording
        return recording

    def _give_up(self, reason: object) -> None:
        """Train without recordings from here on, with the same results."""
        self.can_record = False
        self.recordings.clear()  # after a failure, their dropout would have a generator of its own
        self.kept.clear()
        for parameter in self.parameters:
            parameter.grad = None
        log.warning(
            "the steps of this cell cannot be recorded as a CUDA graph, so they take longer: %s",
            reason,
        )


_REPLACED = "parameters or buffers were replaced; expected that they change in place"


def _addresses(tensors: Iterable[Tensor]) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def _record_on_gpu(
    gradient: Gradient, places: tuple[Tensor, ...], pool: Any
) -> tuple[torch.cuda.CUDAGraph, tuple[Tensor, ...]]:
    """The graph of `gradient(*places)`, and what it returns, on the GPU of these tensors, which
    need not be the current one.
    """
    device = places[0].device
    with torch.cuda.device(device):
        stream = torch.cuda.current_stream()
        generator = torch.cuda.default_generators[device.index]
        state = generator.clone_state()
        graph = torch.cuda.CUDAGraph()
        try:
            # "thread_local": what other threads do on the GPU is no error
            with torch.cuda.graph(graph, pool, _stream(device), "thread_local"):
                return graph, gradient(*places)
        except Exception:
            # after a failure torch leaves both as they are in a recording
            torch.cuda.set_stream(stream)
            generator.graphsafe_set_state(state)
            if not _has_ended(graph):
                _unended.append(graph)
            raise


_unended: list[torch.cuda.CUDAGraph] = []
"""Recordings that torch could not end, such as that of a step that waits for the GPU.

torch never frees their memory, and would ask them for the memory of later recordings. So this
process makes none: each of its cells would lose as much memory again.
"""


def _has_ended(graph: torch.cuda.CUDAGraph) -> bool:
    """Whether the end of a recording succeeded, even if the step in it did not."""
    try:
        graph.pool()
    except RuntimeError:
        return False
    return True


@functools.cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The stream to record on: one for all trainings, as cuBLAS keeps memory for each."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
