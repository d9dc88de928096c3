"""How every model was trained: validation and loss by epoch, of the lane that chose the epochs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.datasets.models import model_file
from pipelines.questions.existing_run import ExistingRun
from pipelines.questions.model_report import read_history
from pipelines.report import look
from pipelines.report.chart import Axis, Chart, Series, curves
from pipelines.run_directory import Lane


def content(run: ExistingRun) -> dict[str, Any]:
    """Charts, and a row a model."""
    lane = run.context.lanes()[0]
    train = run.context.config.train
    metric, sample = train.metric, f" of {train.validation_sample:,} rows" if train.validation_sample else ""
    models = [_model(run, lane, iteration) for iteration in range(run.iteration + 1)]
    drawn = [
        _chart(models, "p_at_1", 100.0, f"validation P@1{sample} in %"),
        _chart(models, "validation", 100.0, f"validation {metric}{sample} in %") if metric != "p@1" else None,
        _chart(models, "loss", 1.0, "loss: mean of weight · L(rank) · hinge"),
    ]
    return {"charts": [chart for chart in drawn if chart], "models": models}


def _model(run: ExistingRun, lane: Lane, iteration: int) -> dict[str, Any]:
    fs, directory = run.context.fs, lane.model(iteration)
    facts = run.context.fresh(directory, model_file(fs, directory, iteration)).facts
    history = read_history(fs, directory)
    return {
        "iteration": iteration,
        "history": history,
        "best": facts["best_epoch"],
        "p_at_1": facts["validation_p@1"],
        "epochs": max((record["epoch"] for record in history), default=0),
        "seconds": sum(record["seconds"] for record in history),
        "pairs": sum(record["pairs"] for record in history),
        "updates": sum(record["updates"] for record in history),
        "sampler": next((record["sampler"] for record in reversed(history) if record["sampler"]), None),
    }


def _chart(models: Sequence[dict[str, Any]], key: str, scale: float, title: str) -> Chart | None:
    """A figure of the history against the epoch, a curve an iteration; the epoch that was kept has a ring."""
    series = []
    for model in models:
        records = [record for record in model["history"] if record.get(key) is not None]
        points = [(record["epoch"], scale * record[key]) for record in records]
        kept = frozenset(place for place, record in enumerate(records) if record["epoch"] == model["best"])
        if points:
            T = model["iteration"]
            series.append(Series(f"model-{T}", look.of_iteration(T), points, kept))
    if not series:
        return None
    values = [value for one in series for _, value in one.points]
    room = 0.08 * (max(values) - min(values)) or 0.05 * abs(max(values)) or 1.0
    last = max(epoch for one in series for epoch, _ in one.points)
    alt = (
        f"{title[0].upper()}{title[1:]} by epoch of {len(series)} models; rings mark the epochs that were kept. "
        + " ".join(f"{one.name} ends at {one.points[-1][1]:.4g} after epoch {one.points[-1][0]}." for one in series)
    )
    y = Axis(title, min(values) - room, max(values) + room)
    return curves(series, Axis("epoch", 0, max(1, last), whole=True), y, alt)
