"""What every stage of a run will do, move, hold and take: pure, from counts alone.

    seconds = jobs · start + (flops / flops_per_second + bytes / bytes_per_second
              + shuffled / shuffle_bytes_per_second + weighed and ranked labels) / tasks at once,

and for a join what `awe_core.knn.plan` says. With `train.refit` what comes after ingest is made twice, once a lane.
Bytes are of Parquet parts before compression, which the vectors do not yield to: what is read, what is written, and
what crosses a shuffle. FLOPs are those of products alone, two a multiplication and addition; what goes around them is
in the rate. Of the baselines ridge is counted; PAMIR and One-vs-Rest, which have to be asked for, are not.

A worker is a machine or container of some cores, with a task a core. Python processes share no more than a shard's
mapped files: each task is counted with a process and a share of the memory of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from awe_core.affinities.beside_neighbours import SAMPLE_ROWS
from awe_core.affinities.cluster import BRANCHES, SAMPLED
from awe_core.affinities.joint import OfScore
from awe_core.affinities.joint_kinds import JOINT_KINDS, JointKind
from awe_core.affinities.stored import STORED_KINDS, Stored, StoredKind
from awe_core.baselines.ridge import BYTES_AT_MOST, PENALTIES, bytes_needed
from awe_core.knn.plan import (
    Asked,
    Plan,
    Rates,
    TooLittleMemory,
    dense_dimension,
    neighbour_bytes,
    plans,
    rates_of,
)
from awe_core.neighbour_space import width
from awe_core.warp.pooled import POOL_LABELS
from awe_core.warp.samplers import FIRST_DRAWS, choose_sampler
from pipelines.jobs.memory import STEP_BYTES, UNDER_WAY, model_bytes

PROCESS_BYTES = 390_000_000
"""Of a Python worker beside its work: the interpreter, Beam, pyarrow, numpy, scipy and numba. A join of 1,000 rows
peaks at 350 to 376 MB; 390 and what is planned for the rows fit those of 25,000 to 200,000 (docs/scaling.md)."""

_ROW_BYTES = 16
"""Beside x and the labels: id, weight, and the lengths of lists."""

_GATHERED_COPIES = 4
"""Of the rows of a part at ingest: the pieces, joined, arranged, and as Arrow."""

_SCORES_BYTES = 128 * 2**20
"""Of a thread that ranks (`awe_core.scoring`)."""

_TRAINERS_BYTES_PER_SECOND = 1.2e9
"""A block of examples, read out of core and checked, of a second of CPU (docs/stages/train.md)."""

_TRAINING_SECONDS = 0.8
"""Of a training beside its pairs: what it checks before and after, and keeps in between."""

_SHUFFLED_COPIES = 5
"""Of what crosses a shuffle, where the in-process runner hands it over (docs/join.md)."""

_LABEL_COPIES = 4
"""Of the base's label lists, while they become mapped files (`pipelines.affinities.by_neighbours`)."""

_SECONDS_A_LINE, _SECONDS_A_WORD = 100e-6, 2e-6
"""Of a row of raw text, and of every value and label in it, where they become arrays."""

_JOIN_STEPS_SECONDS = 1.5
"""Of a join's steps beyond those of another job, whatever it joins: there are some forty of them."""

_SECONDS_A_SCORE = 10e-9
"""Of a thread that finds the k best among the scores of all labels (`awe_core.ranking`)."""

_SECONDS_A_CANDIDATE, _SECONDS_A_COORDINATE = 300e-9, 3e-9
"""Of a candidate: sorted; and of its V gathered for a product that no matrix has."""

_SECONDS_A_NEIGHBOUR, _SECONDS_A_NEIGHBOURS_LABEL = 100e-9, 150e-9
"""Of a neighbour weighed, and of each of its labels, added up (`awe_core.affinities.neighbour_labels`)."""


_LATER = ("knn-embedding", "gxf", "awe")


@dataclass(frozen=True)
class Run:
    """A run, as far as its cost goes.

    Attributes
    ----------
    train, validation, test : rows.
    dimension : d.
    nonzeros : of a row of sparse x; None where x is dense.
    D : of the embedding.
    labels, labels_a_row : Y, and how many a row has.
    input_weight : ρ: where x has one, neighbours are near in it and in Ux together.
    n, k : neighbours; length of the predicted lists.
    iterations, epochs : T of the last iteration; epochs of every training.
    kind : of the affinity.
    recall : of the join of the training rows.
    first : whether the affinity of all iterations is made of Wsabie's embedding.
    folds : of the training rows, where the kind has them; 0 or 1 for none.
    near_labels : of a label, by the latent RBF.
    leaf_rows, leaf_labels : of the clusters.
    files, text : of raw data: a file is read by one task; whether it holds words, and no arrays.
    rows_per_part, block_rows : as the data are cut.
    train_bytes : `train.memory`.
    threads : of the trainer; None for one a core.
    validation_sample : that it looks at after an epoch; None for all.
    refit : whether, after all that is chosen on validation, all is made again of train and validation.
    refit_rows : of what is trained on then; None for the sum of both, as where users do not stand in both.
    every_label : whether awe and gxf rank labels without affinity too, as with `affinity.bias`.
    methods : that rank, of all iterations.
    candidates_found : labels that a row has an affinity to, where a run has counted them.
    landmarks, mapped_from : m, and the numbers of a row of x before it was mapped to d of a kernel; 0 where it was not.
    """

    train: int
    validation: int
    test: int
    dimension: int
    nonzeros: float | None
    D: int
    labels: int
    labels_a_row: float
    n: int
    k: int
    iterations: int = 1
    epochs: int = 50
    kind: StoredKind | JointKind = "knn"
    input_weight: float = 0.0
    recall: float = 1.0
    first: bool = False
    folds: int = 0
    near_labels: int = 10
    leaf_rows: int = 500
    leaf_labels: int = 50
    files: int = 1
    rows_per_part: int = 16384
    block_rows: int = 1024
    train_bytes: int = 2**30
    threads: int | None = None
    validation_sample: int | None = None
    refit: bool = False
    refit_rows: int | None = None
    every_label: bool = False
    methods: tuple[str, ...] = ("popularity", "knn", "ridge", "wsabie", "knn-embedding", "gxf", "awe")
    candidates_found: float | None = None
    text: bool = False
    landmarks: int = 0
    mapped_from: float = 0.0

    @property
    def lanes(self) -> tuple[Run, ...]:
        """The passes from train to evaluate, each as a run (`pipelines.run_directory.Lane`)."""
        if not self.refit:
            return (self,)
        selection = replace(self, test=0, refit=False)
        rows = self.train + self.validation if self.refit_rows is None else self.refit_rows
        return selection, replace(selection, train=rows, validation=0, test=self.test)

    @property
    def _made_as(self) -> Stored | None:
        return STORED_KINDS.get(self.kind)

    @property
    def stored(self) -> int:
        """Iterations whose G is stored with the examples."""
        return self.iterations if self._made_as else 0

    @property
    def of_x(self) -> bool:
        """Whether G is made of neighbours in x itself."""
        return self._made_as is not None and not self._made_as.embedded

    @property
    def by_leaves(self) -> bool:
        """Whether G is made of leaves in place of neighbours."""
        return self._made_as is not None and not self._made_as.by_neighbours

    @property
    def labels_of_a_label(self) -> int:
        """Candidates that a neighbour's label brings: itself, and those near to it where V compares labels."""
        return 1 + self.near_labels if self._made_as is not None and self._made_as.near_labels else 1

    @property
    def embedded(self) -> int:
        """Models that all examples are embedded by."""
        return 0 if self.of_x else min(self.stored, 1) if self.first else self.stored

    @property
    def fold_models(self) -> int:
        """Models that are trained without a fold, each on all other rows."""
        return self.folds if self.folds > 1 and self.stored and self._made_as and self._made_as.flattered else 0

    @property
    def first_methods(self) -> list[str]:
        """Of iteration 0; ridge where its matrices are not too large."""
        left_out = {*_LATER, *(["ridge"] if bytes_needed(self.dimension, self.labels) > BYTES_AT_MOST else [])}
        return [method for method in self.methods if method not in left_out]

    @property
    def later_methods(self) -> list[str]:
        """Of an iteration that has an affinity; where it is learnt jointly awe alone."""
        return [method for method in self.methods if method in (_LATER if self.stored else ("awe",))]

    @property
    def rows(self) -> int:
        return self.train + self.ranked

    @property
    def ranked(self) -> int:
        return self.validation + self.test

    @property
    def width(self) -> float:
        """Values of x that a product meets."""
        return self.dimension if self.nonzeros is None else self.nonzeros

    @property
    def example_bytes(self) -> float:
        x = 4 * self.dimension if self.nonzeros is None else 8 * self.nonzeros
        return _ROW_BYTES + x + 4 * self.labels_a_row

    @property
    def neighbour_width(self) -> int:
        """Coordinates of an embedding as it is stored."""
        return width(self.D, self.dimension, self.input_weight)

    @property
    def embedding_bytes(self) -> float:
        return _ROW_BYTES + 4 * self.neighbour_width + 4 * self.labels_a_row

    @property
    def candidates(self) -> float:
        """Labels of a leaf; or of n neighbours, if they were drawn from all: those of near ones coincide more."""
        if self.candidates_found is not None:
            return self.candidates_found
        if self.by_leaves:
            return min(self.leaf_labels, self.labels)
        drawn = self.n * self.labels_a_row * self.labels_of_a_label
        return min(drawn, -self.labels * math.expm1(drawn * math.log1p(-1 / self.labels))) if self.labels > 1 else 1.0

    @property
    def reweighted_bytes(self) -> float:
        return self.example_bytes + 8 * self.candidates

    @property
    def predicted_bytes(self) -> float:
        return _ROW_BYTES + 8 * min(self.k, self.labels)

    @property
    def id_bytes(self) -> int:
        """Ids that are not the data's own are file · 2⁴⁰ + row."""
        return 4 if self.files == 1 and self.rows < 2**31 else 8


@dataclass(frozen=True)
class Cluster:
    """Where it runs.

    Attributes
    ----------
    workers, cores : machines or containers; tasks at once of each.
    worker_bytes : memory of one.
    in_process : tasks are threads of one process, which also holds what crosses a shuffle.
    """

    workers: int
    cores: int
    worker_bytes: int
    in_process: bool = False

    @property
    def tasks(self) -> int:
        return self.workers * self.cores

    @property
    def task_bytes(self) -> int:
        return self.worker_bytes // self.cores


_RATES = rates_of(128, 20)


@dataclass(frozen=True)
class Speeds:
    """What one core does in a second.

    What stands here are the benchmarks' figures of one core of 2020 or later (docs/stages/train.md, docs/scaling.md).

    Attributes
    ----------
    join, of_join : a join's rates here, and what is built in for the same vectors: others cost in proportion.
    flops_per_second : of the trainer's and the rankers' products, with all that goes around them.
    seconds_a_pair : of the trainer, beside the products.
    bytes_per_second : read, checked and decoded, or encoded and written.
    shuffle_bytes_per_second : through a shuffle; one process hands over in memory.
    start_seconds : of a job before its own work.
    first_seconds : of a cluster's first job beyond that.
    """

    join: Rates = _RATES
    of_join: Rates = _RATES
    flops_per_second: float = 35e9
    seconds_a_pair: float = 1.5e-6
    bytes_per_second: float = 120e6
    shuffle_bytes_per_second: float = 120e6
    start_seconds: float = 0.5
    first_seconds: float = 0.0

    def join_rates(self, built_in: Rates) -> Rates:
        """For vectors of other dimensions, of which this is built in."""
        return replace(
            built_in,
            per_pair=built_in.per_pair * self.join.per_pair / self.of_join.per_pair,
            per_row=built_in.per_row * self.join.per_row / self.of_join.per_row,
            per_shard=built_in.per_shard * self.join.per_shard / self.of_join.per_shard,
            shuffle_bytes_per_second=self.shuffle_bytes_per_second,
        )


@dataclass(frozen=True)
class StagePlan:
    """A stage of all iterations together.

    Attributes
    ----------
    name : the command.
    flops : of products.
    shuffle_bytes, read_bytes, written_bytes : of all tasks.
    worker_bytes : that a worker holds at its peak.
    seconds : predicted.
    joins : that the stage makes; their products are not among `flops`, for `pairs` of D dimensions say them.
    """

    name: str
    flops: float
    shuffle_bytes: float
    read_bytes: float
    written_bytes: float
    worker_bytes: float
    seconds: float
    joins: tuple[Plan, ...] = ()


def run_plan(run: Run, cluster: Cluster, speeds: Speeds) -> list[StagePlan]:
    """The stages that the run has, in their order.

    Raises ValueError where one does not fit into a worker; its line says what would.
    """
    return [
        _ingest(run, cluster, speeds),
        *(_together([stage(lane, cluster, speeds) for lane in run.lanes]) for stage in _stages(run)),
    ]


def _together(lanes: Sequence[StagePlan]) -> StagePlan:
    """One stage of lanes that run one after the other."""
    return StagePlan(
        lanes[0].name,
        sum(lane.flops for lane in lanes),
        sum(lane.shuffle_bytes for lane in lanes),
        sum(lane.read_bytes for lane in lanes),
        sum(lane.written_bytes for lane in lanes),
        max(lane.worker_bytes for lane in lanes),
        sum(lane.seconds for lane in lanes),
        tuple(join for lane in lanes for join in lane.joins),
    )


def _ingest(run: Run, cluster: Cluster, speeds: Speeds) -> StagePlan:
    """Raw files are taken to be as large as the examples; they are surveyed, then read again for the rows of parts, by
    Python: threads of one process take turns. It has the first job of all. With landmarks K has m² float64, of which
    fitting holds three, and some m³ operations; a row is 2m(x + d) more.
    """
    size = run.rows * run.example_bytes
    part = _GATHERED_COPIES * min(run.rows, run.rows_per_part) * run.example_bytes + 24 * run.landmarks**2
    mapping = float(run.landmarks) ** 3 + 2 * run.rows * run.landmarks * (run.mapped_from + run.dimension)
    at_once = 1 if cluster.in_process else run.files
    parsed = _SECONDS_A_LINE + _SECONDS_A_WORD * (run.width + run.labels_a_row) if run.text else 0.0
    stage = _stage("ingest", 2, mapping, size, 2 * size, size, part, cluster, speeds, at_once, run.rows * parsed)
    return replace(stage, seconds=stage.seconds + speeds.first_seconds)


def _train(run: Run, cluster: Cluster, speeds: Speeds) -> StagePlan:
    """One machine. Ux and its gradient are 4 · x · D a pair; scores are of the sampler (`awe_core.warp.samplers`).
    Validation, or `train.validation_sample` of it, is ranked after every epoch.

    Examples beyond `train.memory` are read again every epoch. Two trainings more at the most are held than one has.
    """
    pairs = run.epochs * run.train * run.labels_a_row
    alone = max(1, run.fold_models)  # F models see F − 1 times the pairs of one, beside the model of all
    later = 4 * run.width * run.D + 2 * run.D * run.candidates if run.stored else _flops_of_joint_pair(run)
    flops = pairs * (alone * flops_of_pair(run) + run.iterations * later) + _flops_of_ridge(run)
    ranked = run.validation if run.validation_sample is None else min(run.validation, run.validation_sample)
    flops += run.epochs * ranked * (_flops_to_rank(run, "wsabie") + run.iterations * _flops_to_rank(run, "awe"))
    cores = min(cluster.cores, run.threads or cluster.cores)
    later_bytes = run.reweighted_bytes if run.stored else run.example_bytes
    model = model_bytes(run.dimension, run.labels, run.D, sums=True, started=run.iterations > 0)
    blocks = UNDER_WAY * run.block_rows * later_bytes
    held = PROCESS_BYTES + model + STEP_BYTES * cores + blocks
    kept = min(run.train * later_bytes, max(0.0, run.train_bytes - held))
    size = run.train * (alone * run.example_bytes + run.iterations * later_bytes)
    again = max(0.0, 1 - kept / max(1.0, run.train * later_bytes))
    read = size * (1 + (run.epochs - 1) * again)
    trainings = 1 + run.fold_models + run.iterations
    written = trainings * 4 * run.D * (run.dimension + run.labels) * 2
    busy = flops / speeds.flops_per_second + (alone + run.iterations) * pairs * speeds.seconds_a_pair
    seconds = trainings * _TRAINING_SECONDS + (busy + (read + written) / _TRAINERS_BYTES_PER_SECOND) / cores
    if held > cluster.worker_bytes:
        raise ValueError(
            f"train runs on one machine and needs {_gib(held)} there, which has {_gib(cluster.worker_bytes)}: give it "
            f"--memory={_gib(held)}, or a smaller --embedding"
        )
    return StagePlan("train", flops, 0.0, read, written, held + kept, seconds)


def _flops_of_ridge(run: Run) -> float:
    """The scatter matrix, its eigenvectors and the solutions that validation chooses from; float64 counts twice."""
    if "ridge" not in run.first_methods:
        return 0.0
    d, solutions = float(run.dimension), len(PENALTIES) if run.validation else 1
    return 2 * (2 * run.train * run.width**2 + 9 * d**3 + 2 * d**2 * run.labels * solutions)


def flops_of_pair(run: Run) -> float:
    """Of a pair of iteration 0: Ux, its gradient, and the labels that its sampler scores."""
    return 4 * run.width * run.D + 2 * run.D * _scored(run)


def _flops_of_joint_pair(run: Run) -> float:
    """With an affinity that is learnt: the same, or every score by the features of x."""
    return 4 * run.width * run.D + 2 * run.D * _scored(run) * _scored_features(run)


def _scored(run: Run) -> float:
    """Labels that are scored for a pair."""
    return {
        "geometric": run.labels / max(1.0, run.labels_a_row),
        "pooled": 3.0 * POOL_LABELS,
        "rounds": FIRST_DRAWS,
    }[choose_sampler(run.labels, run.labels_a_row, FIRST_DRAWS, candidates_only=False)]


def _scored_features(run: Run) -> float:
    """Features of x that a label is scored for: all, unless f is a function of their sum."""
    joint = JOINT_KINDS.get(run.kind)
    return 1 if joint is None or issubclass(joint, OfScore) else run.width


def _embed(run: Run, cluster: Cluster, speeds: Speeds) -> StagePlan:
    """U and a block, or all U of the folds and a part; nothing crosses a shuffle."""
    folds = run.fold_models
    rows = run.embedded * run.rows + folds * run.train
    held = 4 * run.D * (run.dimension + run.labels) + 2 * run.block_rows * (run.example_bytes + run.embedding_bytes)
    part = min(run.rows, run.rows_per_part) * (run.example_bytes + folds * run.embedding_bytes)
    held = max(held, folds * 4 * run.D * (run.dimension + run.labels) + part if folds else 0)
    return _stage(
        "embed",
        run.embedded + (folds > 0),
        2.0 * run.width * run.D * rows,
        0.0,
        (run.embedded * run.rows + (folds > 0) * run.train) * run.example_bytes,
        rows * run.embedding_bytes,
        held,
        cluster,
        speeds,
        at_once=_parts(run, run.rows),
    )


def _affinity(run: Run, cluster: Cluster, speeds: Speeds) -> StagePlan:
    """The join of the training rows with themselves, with the others and with the sample for the median; and examples
    written again, with the labels of the base on every worker. Clusters have no join.
    """
    if run.by_leaves:
        return _leaves(run, cluster, speeds)
    joins = [_planned("affinity", asked, cluster) for asked in _affinity_joins(run, cluster)]
    times = run.stored
    gathered = run.rows * neighbour_bytes(_affinity_joins(run, cluster)[0], run.n) + _sample_bytes(run)
    vectors = run.example_bytes if run.of_x else run.embedding_bytes
    read = run.rows * (run.example_bytes + (0.0 if run.of_x else vectors))
    read += run.train * (vectors + cluster.tasks * 4 * run.labels_a_row)  # the sample is of all parts
    return _stage(
        "affinity",
        times,
        0.0,
        times * gathered,
        times * read,
        times * run.rows * run.reweighted_bytes,
        _weighing_bytes(run),
        cluster,
        speeds,
        at_once=_parts(run, run.rows),
        beside=times * run.rows * _seconds_to_weigh(run) * run.labels_of_a_label,
        joins=times * joins,
        built_in=rates_of_affinity(run),
    )


def _affinity_joins(run: Run, cluster: Cluster) -> list[Asked]:
    """Of all with all; or of the others with the training rows, and of every fold with the other folds. Rows of sparse
    x are joined with themselves as other queries are.
    """
    if run.of_x and run.nonzeros is not None:
        others = _asked(run, cluster, of_x=True, within=False)
        return [replace(others, query_rows=run.train + others.query_rows)]
    if not run.fold_models:
        return [_asked(run, cluster, run.of_x, within=True)]
    whole = _asked(run, cluster, of_x=False, within=False)
    own = run.train // run.fold_models
    base = max(1, run.train - own)
    fold = replace(whole, base_rows=base, query_rows=own + min(base, SAMPLE_ROWS), parts=_parts(run, run.train))
    return [whole, *run.fold_models * [fold]]


def _leaves(run: Run, cluster: Cluster, speeds: Speeds) -> StagePlan:
    """A tree of a sample, the counts of its leaves, and every row's way down: 8 centres a level."""
    times, leaves = run.stored, -(-run.train // run.leaf_rows)
    levels = math.ceil(math.log(max(2, leaves), BRANCHES))
    counts = leaves * 12 * min(run.labels, run.leaf_rows * run.labels_a_row)
    sample = min(run.train, SAMPLED * leaves) * (8 + 4 * run.neighbour_width)
    read = (2 * run.train + run.rows) * run.embedding_bytes + run.rows * run.example_bytes
    return _stage(
        "affinity",
        times,
        times * 2.0 * BRANCHES * levels * run.neighbour_width * (run.train + run.rows),
        times * (sample + cluster.tasks * counts),
        times * read,
        times * run.rows * run.reweighted_bytes,
        2 * sample + 2 * counts + run.block_rows * run.reweighted_bytes,
        cluster,
        speeds,
        at_once=_parts(run, run.rows),
    )


def _annotate(run: Run, cluster: Cluster, speeds: Speeds) -> StagePlan:
    """By the methods of iteration 0, with a join for knn on the features; then by those of the affinity."""
    first, later = run.first_methods, run.later_methods
    joins: list[Plan] = []
    shuffled = 0.0
    if "knn" in first:
        asked = _asked(run, cluster, of_x=True, within=False)
        joins.append(_planned("annotate", asked, cluster))
        shuffled = run.ranked * neighbour_bytes(asked, run.n) + _sample_bytes(run)
    flops = sum(_flops_to_rank(run, method) for method in first)
    flops += run.iterations * sum(_flops_to_rank(run, method) for method in later)
    beside = sum(_seconds_to_rank(run, method) for method in first)
    beside += run.iterations * sum(_seconds_to_rank(run, method) for method in later)
    later_bytes = run.reweighted_bytes if run.stored else run.example_bytes
    read = run.ranked * (len(first) * run.example_bytes + len(later) * run.iterations * later_bytes)
    read += run.train * run.example_bytes if joins else 0.0
    models = 4 * (run.dimension + run.labels) * run.D * 2
    models += 4 * run.dimension * run.labels if "ridge" in first else 0
    return _stage(
        "annotate",
        1 + run.iterations,
        run.ranked * flops,
        shuffled,
        read,
        run.ranked * (len(first) + len(later) * run.iterations) * run.predicted_bytes,
        max(models + _SCORES_BYTES, _weighing_bytes(run) if joins else 0),
        cluster,
        speeds,
        at_once=_parts(run, run.ranked) * max(1, len(first)),
        beside=run.ranked * beside,
        joins=joins,
        built_in=_built_in(run, of_x=True),
    )


def _flops_to_rank(run: Run, method: str) -> float:
    """A row's products."""
    embedded, every = 2.0 * run.D * run.width, 2.0 * run.D * run.labels
    if method in ("popularity", "knn", "knn-embedding"):
        return 0.0
    if method in ("ridge", "one-vs-rest", "pamir"):
        return 2.0 * run.width * run.labels
    if method == "wsabie":
        return embedded + every
    if not run.stored:
        return embedded + every * _scored_features(run)
    return embedded + (every if run.every_label else 2.0 * run.D * run.candidates)


def _seconds_to_rank(run: Run, method: str) -> float:
    """A row's labels weighed and sorted; where labels without affinity are ranked too, with their gates."""
    if method in ("knn", "knn-embedding"):
        return run.candidates * _SECONDS_A_CANDIDATE + (_seconds_to_weigh(run) if method == "knn" else 0.0)
    if method not in _LATER or not run.stored:
        return run.labels * _SECONDS_A_SCORE
    if run.every_label:
        return 3 * run.labels * _SECONDS_A_SCORE
    return run.candidates * (_SECONDS_A_CANDIDATE + _SECONDS_A_COORDINATE * run.D)


def _seconds_to_weigh(run: Run) -> float:
    """A row's neighbours, label by label."""
    return run.n * (_SECONDS_A_NEIGHBOUR + run.labels_a_row * _SECONDS_A_NEIGHBOURS_LABEL)


def _evaluate(run: Run, cluster: Cluster, speeds: Speeds) -> StagePlan:
    """Predictions beside ids and labels, a task a part and method; what leaves one is a row of sums."""
    methods = len(run.first_methods) + len(run.later_methods) * run.iterations
    read = run.ranked * methods * (run.predicted_bytes + _ROW_BYTES + 4 * run.labels_a_row)
    held = 2 * run.block_rows * run.predicted_bytes
    return _stage(
        "evaluate", 1 + run.iterations, 0.0, 0.0, read, 0.0, held, cluster, speeds, _parts(run, run.ranked) * methods
    )


def _stages(run: Run) -> Iterator[Callable[[Run, Cluster, Speeds], StagePlan]]:
    """Those of a lane. An affinity that is learnt jointly has neither embeddings nor a G to store; that of x itself no
    embeddings.
    """
    yield _train
    if run.embedded:
        yield _embed
    if run.stored:
        yield _affinity
    yield _annotate
    yield _evaluate


def rates_of_affinity(run: Run) -> Rates:
    """What is built in for the vectors whose neighbours G is made of."""
    return _built_in(run, run.of_x)


def _built_in(run: Run, of_x: bool) -> Rates:
    """The rates of a join of the features or of the embeddings."""
    return rates_of(run.dimension, run.n, run.nonzeros) if of_x else rates_of(run.neighbour_width, run.n)


def _asked(run: Run, cluster: Cluster, of_x: bool, within: bool) -> Asked:
    """A join of what is ranked, and of the sample for the median, with the training rows, by features or by
    embeddings: in tasks of a core and its share of the memory.
    """
    of_features = run.dimension if run.nonzeros is None else dense_dimension(run.nonzeros)
    return Asked(
        base_rows=run.train,
        within=within,
        query_rows=run.ranked + min(run.train, SAMPLE_ROWS),
        dimension=of_features if of_x else run.neighbour_width,
        n=run.n,
        workers=cluster.tasks,
        worker_bytes=max(0, cluster.task_bytes - PROCESS_BYTES),
        by_lists=within and run.recall < 1,
        parts=_parts(run, run.train),
        id_bytes=run.id_bytes,
        own_process=not cluster.in_process,
    )


def _planned(stage: str, asked: Asked, cluster: Cluster) -> Plan:
    try:
        return plans(asked)[0]
    except TooLittleMemory as error:
        raise _does_not_fit(stage, PROCESS_BYTES + error.least, cluster) from None


def _sample_bytes(run: Run) -> int:
    """The distances that the median is of, float64."""
    return 8 * run.n * min(run.train, SAMPLE_ROWS)


def _parts(run: Run, rows: int) -> int:
    return max(1, -(-rows // run.rows_per_part))


def _weighing_bytes(run: Run) -> float:
    """The neighbours of a part, one block's affinities, and the labels of the base while they become files."""
    part = min(run.rows, run.rows_per_part) * (16 * run.n + 4)
    labels = _LABEL_COPIES * run.train * (16 + 4 * run.labels_a_row)
    return part + labels + run.block_rows * (run.reweighted_bytes + 24 * run.n * run.labels_a_row)


def _stage(
    name: str,
    jobs: int,
    flops: float,
    shuffled: float,
    read: float,
    written: float,
    held: float,
    cluster: Cluster,
    speeds: Speeds,
    at_once: int,
    beside: float = 0.0,
    joins: Sequence[Plan] = (),
    built_in: Rates = _RATES,
) -> StagePlan:
    """A stage of some Beam jobs, `at_once` of whose tasks can run side by side; joins come on top.

    Parameters
    ----------
    held : by a task, beside its process.
    beside : seconds of a core for what is neither product nor moved.
    built_in : rates of the joins.
    """
    busy = flops / speeds.flops_per_second + (read + written) / speeds.bytes_per_second
    busy += shuffled / speeds.shuffle_bytes_per_second + beside
    seconds = jobs * speeds.start_seconds + busy / max(1, min(cluster.tasks, at_once))
    for join in joins:
        seconds += _JOIN_STEPS_SECONDS + join.seconds(speeds.join_rates(built_in), cluster.tasks)
        shuffled, read = shuffled + join.shuffle_bytes, read + join.read_bytes
        held = max(held, join.worker_bytes)
    if cluster.in_process:
        worker_bytes = 1.5 * PROCESS_BYTES + held + _SHUFFLED_COPIES * shuffled / max(1, jobs)
        if worker_bytes > cluster.worker_bytes:
            raise _does_not_fit(name, worker_bytes / cluster.cores, cluster)
    else:
        worker_bytes = cluster.cores * (PROCESS_BYTES + held)
        if worker_bytes > cluster.worker_bytes:
            raise _does_not_fit(name, PROCESS_BYTES + held, cluster)
    return StagePlan(name, flops, shuffled, read, written, worker_bytes, seconds, tuple(joins))


def _does_not_fit(stage: str, task_bytes: float, cluster: Cluster) -> ValueError:
    """What a worker of so many cores would need, or how many cores one of this memory can have."""
    needed, cores = cluster.cores * task_bytes, int(cluster.worker_bytes // task_bytes)
    other = f", or --cores={cores}" if 0 < cores < cluster.cores and not cluster.in_process else ""
    size = f"{cluster.cores} core{'s' * (cluster.cores > 1)}"
    return ValueError(
        f"{stage} needs {_gib(needed)} a worker of {size}, which has {_gib(cluster.worker_bytes)}: give "
        f"it --memory={_gib(needed)}{other}"
    )


def _gib(size: float) -> str:
    """Rounded up, as --memory takes it."""
    return f"{math.ceil(size / 2**30 * 10) / 10:.1f}GiB"
