"""The memory hint of a stage."""

from __future__ import annotations

import apache_beam as beam

from pipelines.planning.run_plan import PROCESS_BYTES
from pipelines.planning.worker_memory import part_bytes, with_memory
from schemas import tables
from schemas.manifest import Manifest
from schemas.parts import Part


class Doubled(beam.PTransform):
    """A stage of several steps, with a shuffle and a side input."""

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        numbers = begin | "numbers" >> beam.Create([1, 2, 3])
        one = begin | "one" >> beam.Create([2])
        return numbers | beam.Reshuffle() | beam.Map(lambda x, by: x * by, by=beam.pvalue.AsSingleton(one))


def test_every_step_of_a_stage_has_the_hint_and_so_one_worker_process_is_enough() -> None:
    pipeline = beam.Pipeline(runner="FnApiRunner")
    _ = pipeline | "stage" >> with_memory(Doubled(), 2**30)
    components = pipeline.to_runner_api().components
    steps = [one for one in components.transforms.values() if one.spec.urn and one.environment_id]
    (environment,) = {one.environment_id for one in steps}
    assert len(steps) > 4
    assert dict(components.environments[environment].resource_hints) == {
        "beam:resources:min_ram_bytes:v1": str((-(-PROCESS_BYTES // 2**20) + 2**10) * 2**20).encode()
    }


def test_the_largest_part_counts() -> None:
    sizes = {"a": [100, 300], "b": [200]}
    manifests = [
        Manifest.of(name, [Part(f"part-{k}", 1, size, "0") for k, size in enumerate(parts)], tables.embeddings(2), {})
        for name, parts in sizes.items()
    ]
    assert part_bytes(manifests) == 4 * 300
    assert part_bytes([]) == 0
