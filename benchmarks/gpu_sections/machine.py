"""The device and the software."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

from gpu_sections.settings import Settings
from gpu_sections.table import Row


def machine(settings: Settings) -> Iterator[Row]:
    """The device and the software, as notes."""
    import torch

    name = settings.section
    yield Row(name, "torch", note=f"{torch.__version__}, Python {platform.python_version()}")
    yield Row(name, "processor", float(os.cpu_count() or 1), "cores", note=platform.machine())
    if settings.device == "cpu":
        return
    card = torch.cuda.get_device_properties(0)
    memory, free = card.total_memory / 2**20, torch.cuda.mem_get_info(0)[0] / 2**20
    cudnn = torch.backends.cudnn.version()
    yield Row(name, "card", note=f"{card.name}, sm_{card.major}{card.minor}")
    yield Row(name, "memory of the card", memory, "MiB", note=f"{free:,.0f} MiB free")
    yield Row(name, "CUDA", note=f"{torch.version.cuda}, cuDNN {cudnn}")
