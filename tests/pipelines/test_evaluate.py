"""Results are of all rows, or there are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines import annotate, evaluate, train
from schemas.errors import DataError
from tests.pipelines import ingested


def test_sums_from_which_rows_are_missing_are_not_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    data = ingested.write_npz(tmp_path / "rows.npz", X=rng.normal(size=(60, 4)), y=rng.integers(0, 5, 60))
    root = tmp_path / "run"
    ingested.run(root, train=data)
    context = ingested.context(
        root, data={"train": data}, train={"D": 4, "epochs": 1}, evaluate={"methods": ["popularity"]}
    )
    for stage in (train, annotate):
        stage.main(context, context.lanes()[0], 0)

    def all_but_one_row(gathered, fs, path):
        sums = {position: {**found, "rows": found["rows"] - 1} for position, found in gathered[1]}
        fs.put(path, json.dumps(sums).encode())

    with monkeypatch.context() as lossy:
        lossy.setattr(evaluate, "_write_sums", all_but_one_row)
        with pytest.raises(DataError, match="rows were measured: the runner lost an element; run it again"):
            evaluate.main(context, context.lanes()[0], 0)
    assert not (root / "results.json").exists()
    evaluate.main(context, context.lanes()[0], 0)
    assert {row["method"] for row in json.loads((root / "results.json").read_text())} == {"popularity"}
