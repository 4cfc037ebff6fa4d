"""What a section is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """The options of a section, and its deadline (seconds since 1970)."""

    section: str
    device: Literal["cpu", "cuda"]
    quick: bool
    folder: str
    deadline: float

    @property
    def network(self) -> str:
        """The image model that is timed: that of the published runs, or a small one to test the
        script.
        """
        return "mlp" if self.quick else "resnet18_post"

    @property
    def widths(self) -> tuple[int, ...]:
        return (4,) if self.quick else (8, 16, 64)

    @property
    def cells(self) -> tuple[int, ...]:
        """How many cells are timed at once."""
        return (1, 2) if self.quick else (1, 2, 4)

    @property
    def unrecorded(self) -> tuple[int, ...]:
        """How many are timed at once without CUDA graphs, which a CPU does not have."""
        return (1,) if self.device == "cuda" else ()

    @property
    def images(self) -> int:
        """Images of a timed epoch: whole batches of 128; a fifth of them are whole batches of the
        evaluation.
        """
        return 640 if self.quick else 12_800

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 5

    @property
    def formats(self) -> tuple[str, ...]:
        """Number formats other than float32 that the device multiplies."""
        import torch

        if self.device == "cpu":
            return ("bfloat16",)
        if torch.cuda.get_device_capability()[0] >= 8:
            return ("bfloat16", "float16")
        return ("float16",)
