"""Example annotations of every method, true labels bold and siblings in italics (2011, table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from pipelines.datasets.example_blocks import same_ids
from pipelines.questions.existing_run import ExistingRun
from pipelines.report import look
from pipelines.report.shown_split import ShownSplit
from pipelines.report.thumbnails import thumbnails
from schemas import convert

_ROWS = 2048
"""Examples among which the gained and the lost ones are looked for."""

_SHOWN, _LABELS = 8, 10
"""Examples of a tab, and labels of a line."""


@dataclass(frozen=True)
class Method:
    """The lists of one method for the sampled rows."""

    name: str
    iteration: int
    lists: list[list[int]]

    @property
    def title(self) -> str:
        return look.title(self.name, self.iteration)


@dataclass(frozen=True)
class _Sampled:
    """Sampled rows: their names, true labels without the seen ones, and the labels that are siblings of a true one."""

    names: list[str]
    truth: list[set[int]]
    family: list[set[int]]
    methods: list[Method]

    def first_is_true(self, method: Method) -> NDArray[np.bool_]:
        """Whether the best label is a true one, bool [rows]."""
        pairs = zip(method.lists, self.truth, strict=True)
        return np.array([bool(ranked) and ranked[0] in true for ranked, true in pairs])


def content(run: ExistingRun) -> dict[str, Any] | None:
    """Tabs of examples; None where no example of a ranked split has a label."""
    shown = ShownSplit.of(run)
    if shown is None:
        return None
    sampled = _sampled(run, shown)
    tabs = [(title, text, rows) for title, text, rows in _tabs(sampled) if rows]
    if not tabs:
        return None
    wanted = sorted({row for _, _, rows in tabs for row in rows})
    pictures = thumbnails(run, shown, wanted)
    return {
        "split": shown.name,
        "hierarchy": run.labels.siblings is not None,
        "tabs": [
            {"title": title, "text": text, "examples": [_card(run, sampled, row, pictures.get(row)) for row in rows]}
            for title, text, rows in tabs
        ],
    }


def _sampled(run: ExistingRun, shown: ShownSplit) -> _Sampled:
    facts, labels = run.context.examples(shown.name).facts, len(run.labels.names)
    columns = ["id", *(["key"] if facts["key"] else []), "labels", "seen"]
    table, where = shown.examples(_ROWS, columns), run.context.run.examples(shown.name)
    truth, seen = (_sets(convert.lists(table, name, labels, where)) for name in ("labels", "seen"))
    methods = []
    for T in range(run.iteration + 1):
        for method in run.config.methods(T, facts):
            ranked = shown.predictions(T, method, _ROWS)
            same_ids(table.column("id"), ranked.column("id"), shown.lane.predictions(T, method, shown.name))
            lists = ranked.column("labels").to_pylist()
            methods.append(Method(method, T, lists))
    left = [true - known for true, known in zip(truth, seen, strict=True)]
    names = table.column("key" if facts["key"] else "id").to_pylist()
    return _Sampled(list(map(str, names)), left, [_family(run, true) for true in left], methods)


def _sets(matrix: sp.csr_matrix) -> list[set[int]]:
    return [set(row.tolist()) for row in np.split(matrix.indices, matrix.indptr[1:-1])]


def _family(run: ExistingRun, true: set[int]) -> set[int]:
    """The siblings of some labels."""
    siblings = run.labels.siblings
    if siblings is None:
        return set()
    return {
        int(each) for label in true for each in siblings.indices[siblings.indptr[label] : siblings.indptr[label + 1]]
    }


def _tabs(sampled: _Sampled) -> list[tuple[str, str, list[int]]]:
    """(title, what it shows, rows) of each: at random, and where the last AWE and Wsabie differ."""
    labelled = np.array([bool(true) for true in sampled.truth], bool)
    tabs = [("At random", "The first examples in the order of their hash.", labelled)]
    last = {method.name: method for method in sampled.methods}
    if {"wsabie", "awe"} <= set(last):
        awe = last["awe"]
        ours, before = sampled.first_is_true(awe), sampled.first_is_true(last["wsabie"])
        found = f"{{}} of {int(labelled.sum()):,} sampled examples whose best label is true by {{}} and not by {{}}."
        gained, lost = labelled & ours & ~before, labelled & before & ~ours
        tabs.append(("Gained by AWE", found.format(f"{int(gained.sum()):,}", awe.title, "wsabie"), gained))
        tabs.append(("Lost by AWE", found.format(f"{int(lost.sum()):,}", "wsabie", awe.title), lost))
    return [(title, text, np.flatnonzero(mask)[:_SHOWN].tolist()) for title, text, mask in tabs]


def _card(run: ExistingRun, sampled: _Sampled, row: int, picture: str | None) -> dict[str, Any]:
    names, true, family = run.labels.names, sampled.truth[row], sampled.family[row]
    return {
        "name": sampled.names[row],
        "picture": picture,
        "true": [names[label] for label in sorted(true)],
        "methods": [
            {
                "title": one.title,
                "look": look.of_method(one.name, one.iteration),
                "labels": _marked(names, one.lists[row][:_LABELS], true, family),
            }
            for one in sampled.methods
        ],
    }


def _marked(names: Sequence[str], ranked: Sequence[int], true: set[int], family: set[int]) -> list[tuple[str, str]]:
    """(name, "true", "sibling" or "") of every label of a list."""
    return [(names[label], "true" if label in true else "sibling" if label in family else "") for label in ranked]
