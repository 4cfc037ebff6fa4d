"""A storm over a sweep: real trainings on a real SLURM, while workers, steps, daemons and nodes are
killed at random.

    python tests/slurm/storm.py --cells 300 --minutes 4 [--seed 0] [--keep FOLDER]

Starts a SLURM of four nodes on this machine and sends small networks on digits to its preemptible
partition, with a time limit of two minutes. For as long as asked, every few seconds something is
killed, preempted, requeued, cancelled or taken away, whatever the seed chooses; two shells resubmit
all the while, and daemons are brought back after a moment. Then the queue runs empty, and one
`resume` follows. It must find every cell done, every row once, and the table of a calm run of the
same sweep bit for bit. Ends with status 0 only then. Finds processes through /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where command_line.py is

from slurm_sweep import REPOSITORY, Cluster, Sweep

HERE = Path(__file__).parent
PATIENCE = 60.0
"""Seconds that a task may complete before the administrator steps in."""

QUIET = 600.0
"""Seconds without a new epoch after which the queue is given up: a slow machine has more to do."""

PREEMPTABLE = (
    "hydra.launcher.partition=spot",
    "hydra.launcher.timeout_min=2",
    "hydra.launcher.signal_delay_s=30",
    "hydra.launcher.cpus_per_task=2",
)


def overrides(cells: int, epochs: int) -> tuple[str, ...]:
    """The sweep `smoke` as `cells` trainings (a multiple of six) of `epochs` epochs, augmented and
    with label noise.
    """
    return (
        "~axes",
        "+axes={model.width:[4,8],optim.weight_decay:[0.0,1e-3,1e-2]}",
        "model=mlp",
        f"seeds={list(range(cells // 6))}".replace(" ", ""),
        "data.train_samples=100",
        "data.label_noise.rate=0.2",
        "data.augment=true",
        f"trainer.epochs={epochs}",
        "run.checkpoint_seconds=0.3",
        "compact=true",
        "task.cells=6",
    )


def processes(word: str, folder: Path | None = None) -> list[int]:
    """Processes with an argument `word` and, if asked, one below `folder`."""
    result = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            words = path.read_bytes().decode().split("\0")
            if word in words and (folder is None or any(w.startswith(str(folder)) for w in words)):
                result.append(int(path.parent.name))
    return result


def parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def state_of(pid: int) -> str:
    """State of a process in one letter, empty if it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def node_of(pid: int) -> str:
    """The SLURM node that a process runs on."""
    with contextlib.suppress(OSError):
        for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if word.startswith(b"SLURMD_NODENAME="):
                return word.partition(b"=")[2].decode()
    return ""


def daemon(folder: Path, name: str) -> list[int]:
    """The process of a daemon of the cluster in a folder, if it was started."""
    path = folder / "run" / f"{name}.pid"
    return [int(word) for word in path.read_text().split()[:1]] if path.exists() else []


class Storm:
    """What can happen to a sweep. Every method does one thing and says what, or None where there
    was nothing to hit.
    """

    def __init__(self, sweep: Sweep, seed: int) -> None:
        self.sweep, self.chance = sweep, random.Random(seed)
        self.folder = sweep.cluster.conf.parent.parent

    def _slurm(self, *command: str) -> None:
        """A scheduler that is away just now takes no command."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command,
                env=self.sweep.cluster.environment(),
                capture_output=True,
                timeout=10,
                check=False,
            )

    def _kill(self, pids: list[int], what: str, how: signal.Signals = signal.SIGKILL) -> str | None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, how)
        return f"{how.name} to {what} {pids}" if pids else None

    def _one(self, pids: list[int]) -> list[int]:
        return [self.chance.choice(sorted(pids))] if pids else []

    def _daemon(self, name: str) -> list[int]:
        return daemon(self.folder, name)

    def has_ended(self, name: str) -> bool:
        """Whether a daemon has ended; one that was told to may take a while."""
        return not any(state_of(pid) not in ("", "Z") for pid in self._daemon(name))

    def _task(self) -> str | None:
        """A running task of the sweep."""
        with contextlib.suppress(AssertionError):
            live = sorted(self.sweep.live())
            return self.chance.choice(live) if live else None
        return None

    def child(self) -> str | None:
        return self._kill(self._one(processes("launch.worker.child", self.sweep.folder)), "child")

    def worker(self) -> str | None:
        return self._kill(self._one(processes("launch.job", self.sweep.folder)), "worker")

    def step(self) -> str | None:
        """The daemon of a step; what it ran goes on without it."""
        steps = {parent(pid) for pid in processes("launch.job", self.sweep.folder)} - {0, 1}
        return self._kill(self._one(list(steps)), "slurmstepd")

    def slurmd(self) -> str | None:
        """The daemon of a node alone: its steps go on, as over a lost network."""
        return self._kill(self._daemon(f"slurmd-n{self.chance.randint(1, 4)}"), "slurmd")

    def node(self) -> str | None:
        """A node without warning: its daemon and all that runs there."""
        name = f"n{self.chance.randint(1, 4)}"
        workers = processes("launch.job", self.sweep.folder) + processes(
            "launch.worker.child", self.sweep.folder
        )
        pids = [pid for pid in workers if node_of(pid) == name]
        steps = {parent(pid) for pid in pids} - {0, 1}
        return self._kill([*self._daemon(f"slurmd-{name}"), *steps, *pids], f"all of node {name}:")

    def down(self) -> str:
        name = f"n{self.chance.randint(1, 4)}"
        self._slurm("scontrol", "update", f"nodename={name}", "state=down", "reason=storm")
        return f"node {name} set down"

    def controller(self) -> str | None:
        return self._kill(self._daemon("slurmctld"), "slurmctld", signal.SIGTERM)

    def crash(self) -> str | None:
        """Without saving its state: it may start tasks a second time."""
        return self._kill(self._daemon("slurmctld"), "slurmctld")

    def accounting(self) -> str | None:
        return self._kill(self._daemon("slurmdbd"), "slurmdbd", signal.SIGTERM)

    def preemption(self) -> str:
        nodes = self.chance.choice(["1", "2", "4"])
        self._slurm(
            "sbatch",
            "-p",
            "prio",
            "-N",
            nodes,
            "--exclusive",
            "-t",
            "1",
            "-o",
            "/dev/null",
            "--wrap",
            "sleep 2",
        )
        return f"{nodes} nodes preempted"

    def requeue(self) -> str | None:
        if task := self._task():
            self._slurm("scontrol", "requeue", task)
        return task and f"{task} requeued"

    def cancelled(self) -> str | None:
        if task := self._task():
            self._slurm("scancel", task)
        return task and f"{task} cancelled"

    def signalled(self) -> str | None:
        how = self.chance.choice(["USR2", "TERM"])
        if task := self._task():
            self._slurm("scancel", f"--signal={how}", task)
        return task and f"{task} sent {how}"

    def events(self) -> list[Callable[[], str | None]]:
        """All of them, in the order of a shuffled deck: in a long storm everything happens."""
        deck = [
            self.child,
            self.child,
            self.worker,
            self.worker,
            self.step,
            self.slurmd,
            self.node,
            self.down,
            self.controller,
            self.crash,
            self.accounting,
            self.preemption,
            self.preemption,
            self.requeue,
            self.cancelled,
            self.signalled,
            self.signalled,
        ]
        self.chance.shuffle(deck)
        return deck


def heal(cluster: Cluster) -> bool:
    """Bring back what is missing of the cluster; whether all nodes are in service."""
    environment = cluster.environment() | cluster.settings | {"SLURM_DEV_INSTALL": "0"}
    process = subprocess.run([HERE / "up.sh"], env=environment, capture_output=True, check=False)
    return process.returncode == 0


class Administrator:
    """Restarts the daemon of a node that does not report the end of a task, or nothing at all, and
    sets the node down and up again: as an administrator does when `redescent status` names it.
    """

    def __init__(self, cluster: Cluster, say: Callable[[str], object]) -> None:
        self.cluster, self.say = cluster, say
        self.since: dict[tuple[str, str], float] = {}
        self.down: set[str] = set()

    def look(self) -> None:
        """Restart the nodes that have had a trouble for too long, and bring them back."""
        now = time.monotonic()
        self.since = {trouble: self.since.get(trouble, now) for trouble in self._troubles()}
        self.down = {node for node in self.down if not self.cluster.resumed(node)}
        stuck = {node for (_, node), since in self.since.items() if now - since > PATIENCE}
        for node in sorted(stuck - self.down - {""}):
            self._restart(node)
            self.down.add(node)
            self.since = {one: since for one, since in self.since.items() if one[1] != node}

    def _troubles(self) -> set[tuple[str, str]]:
        """What troubles which node: a task that completes, or silence."""
        completing = {(task, node) for _, task, _, node in self.cluster.tasks("COMPLETING")}
        nodes = self.cluster.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").split()
        states = zip(nodes[::2], nodes[1::2], strict=True)
        silent = {("silent", node) for node, state in states if state.endswith("*")}
        return completing | silent

    def _restart(self, node: str) -> None:
        update = ("scontrol", "update", f"nodename={node}", "state=down", "reason=completing")
        self.cluster.run(*update)
        folder = self.cluster.conf.parent.parent
        for pid in daemon(folder, f"slurmd-{node}"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.say(f"the administrator restarts {node}")


@contextlib.contextmanager
def meanwhile(*actions: Callable[[], object]) -> Iterator[None]:
    """Repeat each action in a thread of its own until the block ends."""
    over = threading.Event()

    def repeat(action: Callable[[], object]) -> None:
        while not over.is_set():
            action()

    threads = [threading.Thread(target=repeat, args=(action,), daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def run(
    sweep: Sweep,
    cells: int,
    seconds: float,
    seed: int,
    epochs: int,
    say: Callable[[str], object] = print,
) -> None:
    """Send the sweep, let the storm go over it, resume it once, and hold it against a calm run."""
    arguments = overrides(cells, epochs)
    answers: list[str] = []
    began = time.monotonic()

    def log(text: str) -> None:
        say(f"{time.monotonic() - began:6.1f} s  {text}")

    def shell(number: int) -> Callable[[], None]:
        chance = random.Random(f"{seed} {number}")

        def resubmit() -> None:
            time.sleep(chance.uniform(2, 8))
            command = (
                ("resume", "smoke")
                if chance.random() < 0.5
                else ("submit", "smoke", "hydra/launcher=slurm")
            )
            extra = (*arguments, *PREEMPTABLE) if command[0] == "submit" else ()
            answers.append(sweep.redescent(*command, *extra, check=False))
            log(f"shell {number}: {command[0]}: {answers[-1].strip().splitlines()[-1][:150]}")

        return resubmit

    def healer() -> None:
        time.sleep(4)
        heal(sweep.cluster)

    sweep.submit(*arguments, *PREEMPTABLE)
    sweep.wait(lambda: sweep.epochs() > 0)
    storm = Storm(sweep, seed)
    counts: Counter[str] = Counter()
    with meanwhile(healer, shell(1), shell(2)):
        deck: list[Callable[[], str | None]] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            deck = deck or storm.events()
            event = deck.pop()
            if happened := event():
                counts[event.__name__] += 1
                log(happened)
            time.sleep(storm.chance.uniform(0.5, 3.5))
    assert counts, "nothing happened: the sweep was over before"
    log(f"the storm is over: {dict(counts.most_common())}")
    administrator = Administrator(sweep.cluster, log)

    def ended() -> bool:
        is_whole = heal(sweep.cluster)
        with contextlib.suppress(AssertionError):  # the controller may not answer yet
            administrator.look()
            return is_whole and sweep.ended()
        return False

    wait_while_epochs_come(sweep, ended)
    log(f"the queue is empty: {sweep.states()}")
    answers.append(sweep.redescent("resume", "smoke", "--wait", check=False))
    log(f"resumed: {sweep.states()}")
    verify(sweep, cells, answers, arguments, log)


def wait_while_epochs_come(sweep: Sweep, ended: Callable[[], bool]) -> None:
    """Wait until the queue is empty; AssertionError after QUIET seconds without a new epoch."""
    most, since = 0, time.monotonic()
    while not ended():
        epochs = sweep.epochs()
        if epochs > most:
            most, since = epochs, time.monotonic()
        if time.monotonic() - since > QUIET:
            status = sweep.redescent("status", sweep.name, check=False)
            raise AssertionError(f"no epoch in {QUIET:.0f} s\n{status}\n{sweep.output()}")
        time.sleep(1)


def verify(
    sweep: Sweep,
    cells: int,
    answers: list[str],
    arguments: tuple[str, ...],
    log: Callable[[str], None],
) -> None:
    """Hold the sweep against a calm run of it; AssertionError where they differ."""
    assert sweep.states() == {"done": cells}, answers[-1]
    assert not [answer for answer in answers if "Traceback" in answer], (
        "a command ended with a traceback"
    )
    log(f"attempts of a cell: at most {sweep.records()['attempts'].max()}")
    calm = Sweep(sweep.cluster, sweep.logs.parent / "calm", patience=sweep.patience)
    calm.submit(*arguments, "--wait", launcher="local")
    table, expected = sweep.table(), calm.table()
    log(f"{len(table)} rows, {len(expected)} in the calm run")
    pd.testing.assert_frame_equal(table, expected, check_exact=True)
    output = sweep.compact()
    assert "files became" in output, output
    assert "differ" not in output + sweep.output(), (
        "a row was computed twice, and not to the same numbers"
    )
    pd.testing.assert_frame_equal(sweep.table(), expected, check_exact=True)
    assert not list((sweep.folder / "checkpoints").glob("*.pt")), (
        "checkpoints of finished cells are left"
    )
    log("every cell is done, every row there once, and the tables are equal bit for bit")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cells", type=int, default=300, help="trainings, a multiple of six (default: 300)"
    )
    parser.add_argument(
        "--minutes", type=float, default=4, help="how long things are killed (default: 4)"
    )
    parser.add_argument("--epochs", type=int, default=60, help="epochs of a training (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of what happens when (default: 0)")
    parser.add_argument("--keep", type=Path, help="an empty folder for the logs, kept afterwards")
    options = parser.parse_args()
    sys.path.insert(0, str(REPOSITORY))
    with tempfile.TemporaryDirectory(prefix="redescent-storm-") as pids:
        settings = {
            "SLURM_DEV_DIR": f"{pids}/slurm",
            "SLURM_DEV_NODE_TIMEOUT": "6",
            "SLURM_DEV_OWNER": str(os.getpid()),
        }
        subprocess.run(
            [HERE / "up.sh"], env=os.environ | settings, check=True, stdout=subprocess.DEVNULL
        )
        try:
            logs = (options.keep or Path(pids)).absolute() / "logs"
            logs.mkdir(parents=True)
            run(
                Sweep(Cluster(Path(pids, "slurm/etc/slurm.conf"), settings), logs, patience=3600),
                options.cells,
                60 * options.minutes,
                options.seed,
                options.epochs,
                lambda text: print(text, flush=True),
            )
        finally:
            subprocess.run([HERE / "down.sh", "--purge"], env=os.environ | settings, check=False)


if __name__ == "__main__":
    main()
