"""A measured program in a process of its own: its lines of JSON, and the peak of its memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from pipelines.jobs.memory import watched_peak

# A look at the processes takes milliseconds: seldom enough not to be seen in the times. What a single process reached
# in between, it says itself.
_LOOK_EVERY_SECONDS = 0.5


class ProgramFailed(Exception):
    """A measured program ended with an error; the message has its last words."""


@dataclass(frozen=True)
class Outcome:
    """The lines that a program printed, each a JSON object, and the most memory that its process tree held."""

    lines: list[dict[str, Any]]
    peak_bytes: int

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]


def run(command: Sequence[str]) -> Outcome:
    """Run a program to its end.

    Its peak is that of the resident memory summed over it and its descendants, seen from outside twice a second, or
    the `peak_bytes` of its last line where that is more.

    Raises
    ------
    ProgramFailed
        It ended with an error or printed nothing.
    """
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        watched_peak(lambda: tree_bytes(process.pid), _LOOK_EVERY_SECONDS) as peak,
    ):
        output, words = process.communicate()
    if process.returncode or not output.strip():
        why = words.strip().splitlines()[-1:] or ["no output"]
        raise ProgramFailed(f"{' '.join(command)}: exit status {process.returncode}: {why[0]}")
    # Said at once: should a later program fail, what this one measured is not lost.
    sys.stderr.write(f"{words}    {' '.join(command[1:])}\n      {output.splitlines()[-1]}\n")
    lines = [json.loads(line) for line in output.splitlines()]
    return Outcome(lines, max(peak.bytes, lines[-1].get("peak_bytes", 0)))


def tree_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; those that are gone hold nothing."""
    total = 0
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def own_peak_bytes() -> int:
    """The most memory that this process held at any time (Linux counts in units of 1,024 bytes)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
