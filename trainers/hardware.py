"""Print torch's version and GPUs: `python -m trainers.hardware`, for `redescent doctor`."""

from __future__ import annotations

import torch


def main() -> None:
    """Print torch's version, its compiled architectures, and each GPU's architecture and name."""
    print(torch.__version__)
    print(" ".join(torch.cuda.get_arch_list()) or "none: a CPU build")
    for index in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(index)
        print(f"sm_{major}{minor} {torch.cuda.get_device_name(index)}")


if __name__ == "__main__":
    main()
