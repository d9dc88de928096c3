"""A program and a cluster while they work: CPU seconds and peak memory of every process, by what it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipelines.jobs.repeated import repeated

# What a process did after the last look at it, before it ended, is not counted.
_LOOK_EVERY_SECONDS = 0.2


@dataclass
class Usage:
    """Of all processes that are the same thing.

    Attributes
    ----------
    cpu_seconds : of all together, while they were watched.
    peak_bytes : the most resident memory that one of them ever held.
    """

    cpu_seconds: float = 0.0
    peak_bytes: int = 0


@dataclass
class Watched:
    """What was seen; it is complete when the watch has ended."""

    _before: dict[int, float] = field(default_factory=dict)
    _seen: dict[int, tuple[str, float, int]] = field(default_factory=dict)

    def look(self, roots: Callable[[], Sequence[int]]) -> None:
        """Take in all processes below some; those that are gone keep what was last seen of them."""
        for process in _trees(roots()):
            try:
                times = process.cpu_times()
                name, _, peak = self._seen.get(process.pid) or (kind(process.cmdline()), 0.0, 0)
                # One that is about to end holds nothing any more.
                self._seen[process.pid] = name, times.user + times.system, max(peak, _peak_bytes(process))
            except psutil.NoSuchProcess:
                continue

    def start(self) -> None:
        """What was used up to now is not counted."""
        self._before = {pid: seconds for pid, (_, seconds, _) in self._seen.items()}

    @property
    def usage(self) -> dict[str, Usage]:
        """By `kind` of process."""
        found: dict[str, Usage] = {}
        for pid, (name, seconds, peak) in sorted(self._seen.items()):
            one = found.setdefault(name, Usage())
            one.cpu_seconds += seconds - self._before.get(pid, 0.0)
            one.peak_bytes = max(one.peak_bytes, peak)
        return found

    @property
    def cpu_seconds(self) -> float:
        return sum(one.cpu_seconds for one in self.usage.values())


def kind(command: Sequence[str]) -> str:
    """What a process is, by its command line."""
    line = " ".join(command)
    known = {
        "sdk_worker_main": "Python worker",
        "StandaloneSessionClusterEntrypoint": "JobManager",
        "TaskManagerRunner": "TaskManager",
        "FlinkJobServerDriver": "job server",
    }
    return next((name for part, name in known.items() if part in line), "the command and others")


@contextmanager
def watch(roots: Callable[[], Sequence[int]]) -> Iterator[Watched]:
    """Watch the processes below some roots, which are asked for at every look."""
    seen = Watched()
    seen.look(roots)
    seen.start()
    try:
        with repeated(lambda: seen.look(roots), _LOOK_EVERY_SECONDS):
            yield seen
    finally:
        seen.look(roots)


def _trees(roots: Sequence[int]) -> Iterator[psutil.Process]:
    for pid in roots:
        try:
            root = psutil.Process(pid)
            yield from (root, *root.children(recursive=True))
        except psutil.NoSuchProcess:
            continue


def _peak_bytes(process: psutil.Process) -> int:
    """The most that a process has held; what it holds now where the system does not keep it."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return int(process.memory_info().rss)
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024
