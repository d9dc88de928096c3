"""The runners by their names."""

from __future__ import annotations

RUNNERS = {
    "in-process": "FnApiRunner",
    "multi-processing": "FnApiRunner",
    "prism": "PrismRunner",
    "flink": "FlinkRunner",
    "dataflow": "DataflowRunner",
}
"""Our names and Beam's. Any other name is handed to Beam as it is."""
