"""What the cluster offers, as SLURM reports it: partitions, nodes in service and limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from launch.scheduler import slurm


def nodes_in_service(partition: str | None) -> set[str] | None:
    """Nodes that could run a job of the partition (None: any); None if SLURM does not answer."""
    options = ["-p", partition] if partition else []
    answer = slurm.call("sinfo", "-h", "-N", "-t", "idle,mix,alloc,comp", *options, "-o", "%N")
    return set(answer.stdout.split()) if answer.returncode == 0 else None


@dataclass(frozen=True)
class Partition:
    """What a partition allows a job."""

    name: str
    minutes: float | None
    """The longest time limit; None without one."""
    least_nodes: int
    most_nodes: int | None
    is_default: bool = False
    """Whether jobs without a partition go there."""


def partitions() -> list[Partition]:
    """The partitions of the cluster; empty if SLURM does not answer."""
    text = slurm.call("scontrol", "-o", "show", "partition").stdout
    lines = [line for line in text.splitlines() if line.startswith("PartitionName=")]
    return [parse_partition(line) for line in lines]


def parse_partition(line: str) -> Partition:
    """A line of `scontrol -o show partition`."""
    values = dict(word.partition("=")[::2] for word in line.split())
    least, most = values.get("MinNodes", "0"), values.get("MaxNodes", "UNLIMITED")
    return Partition(
        name=values["PartitionName"],
        minutes=minutes_of(values.get("MaxTime", "UNLIMITED")),
        least_nodes=int(least) if least.isdecimal() else 0,
        most_nodes=int(most) if most.isdecimal() else None,
        is_default=values.get("Default") == "YES",
    )


def minutes_of(text: str) -> float | None:
    """Minutes of a time limit as SLURM writes it, DAYS-HOURS:MINUTES:SECONDS; None without one."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(number or 0) for number in match.groups())
    return 60 * (24 * days + hours) + minutes + seconds / 60


def limits() -> Mapping[str, int]:
    """Limits such as MaxArraySize from `scontrol show config`; empty if SLURM does not answer."""
    text = slurm.call("scontrol", "show", "config").stdout
    values = {}
    for key, value in re.findall(r"^(MaxArraySize|MaxJobCount)\s*=\s*(\d+)", text, re.M):
        values[key] = int(value)
    most_tasks = re.search(r"max_array_tasks=(\d+)", text)
    if most_tasks:
        values["max_array_tasks"] = int(most_tasks.group(1))
    return values


def array_size() -> int:
    """Most tasks of an array, 1000 if unknown. MaxArraySize limits the index, which starts at 0."""
    values = limits()
    by_index = values.get("MaxArraySize", 1001) - 1
    return max(1, min(by_index, values.get("max_array_tasks", by_index)))
