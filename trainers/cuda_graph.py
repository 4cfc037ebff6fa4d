"""The gradient of a training step as one CUDA graph.

A processor takes longer to launch the kernels of a small network than the GPU to run them. A CUDA
graph records the kernels of one step, and launches all of them at once in later steps. They are
the same kernels, so the results keep their bits.

A recording repeats what the GPU did, not what Python did: a step that counts its calls, branches on
values or waits for the GPU cannot be recorded, nor one whose optimiser keeps gradients, as the next
step overwrites them. What is shipped does none of this. Steps with models, optimisers or trainers
of the user are recorded if these say `cuda_graph = True`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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
    if device.type != "cuda":
        return False
    for settings, part in parts:
        is_shipped = not is_import_path(settings.name)
        if not getattr(part, "cuda_graph", is_shipped):
            return False
    return True


class RecordedGradient:
    """Computes the gradients of a training, from recordings where these are possible."""

    def __init__(self, parameters: Sequence[Tensor], can_record: bool) -> None:
        self.parameters = parameters
        self.can_record = can_record
        self.steps: Counter[Shapes] = Counter()
        self.recordings: dict[Shapes, Recording] = {}
        # Recordings share memory, as only one step runs at a time.
        self.pool = torch.cuda.graph_pool_handle() if self.can_record else None

    def __call__(self, gradient: Gradient, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What `gradient(*inputs)` returns; the next call may overwrite it.

        The parameters have no gradients before. `gradient` depends on nothing else that changes
        from step to step, except for parameters and buffers, which change in place.
        """
        shapes = tuple(value.shape for value in inputs)
        recording = self.recordings.get(shapes)
        if recording is None and self._is_due(shapes):
            recording = self._record(gradient, inputs)
        if recording is None:
            return gradient(*inputs)
        recording.replay(inputs)
        for parameter, value in zip(self.parameters, recording.gradients, strict=True):
            parameter.grad = value
        return recording.outputs

    def _is_due(self, shapes: Shapes) -> bool:
        """Whether to record a step with inputs of these shapes now."""
        if not self.can_record or len(self.recordings) == RECORDINGS:
            return False
        self.steps[shapes] += 1
        return self.steps[shapes] > WARM_UP

    def _record(self, gradient: Gradient, inputs: tuple[Tensor, ...]) -> Recording | None:
        """Record a step without running it; None, after a warning, if that fails."""
        places = tuple(torch.empty_like(value) for value in inputs)
        graph = torch.cuda.CUDAGraph()
        generator = torch.cuda.default_generators[inputs[0].device.index]
        unrecorded = generator.clone_state()
        try:
            # "thread_local": what other threads do on the GPU is no error
            with torch.cuda.graph(graph, self.pool, capture_error_mode="thread_local"):
                outputs = gradient(*places)
        except RuntimeError as error:
            generator.graphsafe_set_state(unrecorded)  # it would go on recording
            self._give_up(error)
            return None
        gradients = [parameter.grad for parameter in self.parameters]
        recording = Recording(graph, places, outputs, gradients)
        self.recordings[tuple(value.shape for value in inputs)] = recording
        return recording

    def _give_up(self, error: RuntimeError) -> None:
        """Train without recordings from here on, with the same results."""
        self.can_record = False
        for parameter in self.parameters:
            parameter.grad = None
        log.warning(
            "the steps of this cell cannot be recorded as a CUDA graph, so they take longer: %s",
            error,
        )
