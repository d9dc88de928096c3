"""What a worker of a stage holds, said to runners that choose their machines by it (Dataflow's right fitting)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import apache_beam as beam

from pipelines.planning.run_plan import PROCESS_BYTES
from schemas.manifest import Manifest

Transform = TypeVar("Transform", bound=beam.PTransform)


def with_memory(transform: Transform, held: int) -> Transform:
    """The transform with a hint for its workers: what they hold, in bytes, and what the process takes without it.

    A hint belongs on the whole of a stage: Beam makes an environment of every hint, and steps of two environments run
    in two worker processes, on all runners, unfused.
    """
    return transform.with_resource_hints(min_ram=f"{-(-(PROCESS_BYTES + held) // 2**20)}MiB")


def part_bytes(manifests: Iterable[Manifest]) -> int:
    """Of the largest part, decoded, and what is made of it: four times its bytes, for only some blocks are held."""
    return 4 * max((part.bytes for manifest in manifests for part in manifest.parts), default=0)
