"""`awe model show`: what a model is, where it comes from and how it was trained."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets.models import load_model
from pipelines.filesystems.filesystem import BeamFileSystem
from schemas.errors import DataError
from schemas.filesystem import FileSystem, read_bytes
from schemas.model_file import find_model

_COLUMNS = ("epoch", "loss", "p_at_1", "validation", "updates", "skipped", "rate", "seconds")
_NOT_SHOWN = {"settings", "inputs"}


def main(directory: str, as_json: bool) -> str:
    """The report as text, or as JSON. Raises DataError where there is no model, or a damaged one."""
    found = described(BeamFileSystem(), directory.rstrip("/"))
    return json.dumps(found, indent=1, sort_keys=True) if as_json else _text(found)


def described(fs: FileSystem, directory: str) -> dict[str, Any]:
    """Shapes, norms, facts, settings, inputs and history of a model, all of it checked as for use."""
    try:
        found = find_model(fs, directory)
    except NotADirectoryError:
        found = None
    if found is None:
        raise DataError(f"{directory}: there is no model.json; give the folder of a model, RUN/model-1, say")
    model = load_model(fs, directory, found, warm=True)
    return {
        "model": directory,
        "fingerprint": found.fingerprint,
        "files": found.files,
        "tensors": {name: _tensor(rows) for name, rows in (("U", model.U), ("V", model.V))},
        "facts": {name: value for name, value in found.facts.items() if name not in _NOT_SHOWN},
        "settings": found.facts["settings"],
        "inputs": found.inputs,
        "history": read_history(fs, directory),
    }


def _tensor(rows: NDArray[np.float32]) -> dict[str, Any]:
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    least, median, most = np.quantile(norms, [0, 0.5, 1]).tolist() if len(norms) else (0.0, 0.0, 0.0)
    return {"shape": list(rows.shape), "norms": {"least": least, "median": median, "most": most}}


def read_history(fs: FileSystem, directory: str) -> list[dict[str, Any]]:
    """The record of every epoch of a model's training. Raises DataError where it is no JSON."""
    path = fs.join(directory, "history.json")
    try:
        history: list[dict[str, Any]] = json.loads(read_bytes(fs, path))
    except (FileNotFoundError, ValueError) as error:
        raise DataError(f"{path}: the training history cannot be read ({error}); train again") from error
    return history


def _text(found: dict[str, Any]) -> str:
    lines = [f"{found['model']}  {found['fingerprint']}", ""]
    for name, tensor in found["tensors"].items():
        norms = ", ".join(f"{what} {value:.4g}" for what, value in tensor["norms"].items())
        lines.append(f"{name}  {tensor['shape'][0]:,} × {tensor['shape'][1]:,}  norms of rows: {norms}")
    for title in ("facts", "settings", "inputs", "files"):
        width = max(map(len, found[title]), default=0)
        lines += ["", f"{title}:", *(f"  {name:<{width}}  {value}" for name, value in sorted(found[title].items()))]
    best = found["facts"].get("best_epoch")
    lines += ["", "history:", "  " + "".join(f"{name:>12}" for name in _COLUMNS)]
    for record in found["history"]:
        kept = "  kept" if record["epoch"] == best else ""
        lines.append("  " + "".join(f"{_shown(record.get(name)):>12}" for name in _COLUMNS) + kept)
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else f"{value}"
