"""The configuration: one TOML per experiment, flags over it, checked whole before any work starts."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from awe_core.affinities.joint import Joint
from awe_core.affinities.joint_kinds import JOINT_KINDS, JointKind, joint_named
from awe_core.affinities.settings import KINDS, AffinitySettings, keys_of
from awe_core.affinities.stored import STORED_KINDS, Stored, StoredKind
from awe_core.baselines import passive_aggressive, ridge
from awe_core.kernels.choice import resolved_kernel
from awe_core.kernels.kernel import KernelName
from awe_core.metrics import length_of
from awe_core.neighbour_space import refuse_unfit_inputs
from awe_core.scaling import Scale
from awe_core.similarity import Similarity
from awe_core.training.schedule import Schedule
from awe_core.warp.rank_weights import Alpha
from awe_core.warp.samplers import Sampler
from pipelines.errors import ConfigError
from pipelines.filesystems.filesystem import BeamFileSystem
from pipelines.tuning.search_space import SEARCHED, Space, ends
from schemas.filesystem import FileSystem, read_bytes

ELEMENT_BYTES = 10_000_000
"""No element that flows through Beam may be larger: a grouped value has to fit in a worker's heap many times over."""

Paths = str | list[str]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(gt=0)]
METHODS_0 = ("popularity", "knn", "ridge", "one-vs-rest", "pamir", "wsabie")
LINEAR = ("ridge", "one-vs-rest", "pamir")
"""Baselines with a full d × Y matrix."""
ASKED_FOR = ("one-vs-rest", "pamir")
"""Methods that cost more than all others together: they are ranked by where they are named."""
METHODS_T = ("knn-embedding", "gxf", "awe")
Method = Literal["popularity", "knn", "ridge", "one-vs-rest", "pamir", "wsabie", "knn-embedding", "gxf", "awe"]


class Section(BaseModel):
    """A table of the TOML: unknown keys are refused, values are not changed after the check."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, strict=True)


class Run(Section):
    """What is run."""

    seed: int = Field(0, ge=0, lt=2**32, description="seed of every hash and every random stream")
    iterations: int = Field(
        1, ge=0, le=99, description="T of the last iteration: 0 stops at Wsabie, 1 at the first AWE"
    )


class Data(Section):
    """Where the examples come from and how they are cut."""

    root: str | None = Field(None, description="folder of the paths below; else the variable AWE_DATA")
    format: Literal["npz", "arff", "svmlight", "interactions", "csv", "parquet", "digits"] | None = Field(
        None, description="format of the files; found from the first 100 lines where not given"
    )
    train: Paths | None = Field(None, description="path, pattern or list of them")
    validation: Fraction | Paths = Field(0.1, description="paths, or the fraction of train that is held out by hash")
    test: Fraction | Paths = Field(0.2, description="paths, or the fraction of all rows that is held out by hash")
    x: Literal["user", "history"] = Field(
        "user", description="interactions: x is one-hot, or the items that the user has"
    )
    hold_out: Positive | None = Field(
        None, description="interactions: items of every user in validation and in test, in place of their fractions"
    )
    scale: Scale = Field(
        "none", description="of x: to ‖x‖ = 1, to Σ |xᵢ| = 1, by column as fitted on train, or tf-idf to ‖x‖ = 1"
    )
    intercept: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="value of a constant beside x, after scaling; 0 is none"
    )
    landmarks: int = Field(
        0, ge=0, le=10_000, description="rows of train by which x is mapped to the space of an RBF kernel; 0 is none"
    )
    components: Positive = Field(500, description="of x in that space: the most that landmarks make")
    gamma: float = Field(1.0, ge=1e-3, le=1e3, description="γ of that kernel, in 1 / the median of the landmarks' d²")
    hierarchy: str | None = Field(None, description="TSV of label and parent, for sibling precision")
    min_rating: float | None = Field(None, description="ratings below it are no positives")
    max_rejects: float = Field(0.001, ge=0, le=1, description="fraction of refused rows that stops the run")
    rows_per_part: Positive = Field(16384, description="rows of a part, at the most about")
    block_rows: Positive = Field(1024, description="rows of a block")

    @field_validator("landmarks")
    @classmethod
    def _makes_a_distance(cls, landmarks: int) -> int:
        if landmarks == 1:
            raise ValueError("must be 0, or 2 and more: the kernel's width is a distance between landmarks")
        return landmarks

    @field_validator("intercept")
    @classmethod
    def _stays_a_constant(cls, intercept: float) -> float:
        if intercept and not 1e-6 <= intercept <= 1e6:
            raise ValueError("must be 0 or between 1e-6 and 1e6: x is float32, and the constant a column like others")
        return intercept


class Train(Section):
    """The WARP trainer."""

    D: Positive | Literal["auto"] = Field(64, description='dimension of the embedding; "auto" is round(20 · Y^¼)')
    C: float = Field(math.inf, gt=0, description="norm constraint on the rows of U and V; inf is none")
    margin: float = Field(1.0, gt=0, allow_inf_nan=False, description="γ of the hinge")
    optimiser: Literal["adagrad", "sgd"] = Field("adagrad", description="how a gradient becomes a step")
    learning_rate: float = Field(0.03, gt=0, allow_inf_nan=False, description="step size")
    batch: Positive = Field(512, description="pairs (x, y) of a step, evaluated at the same U and V")
    epochs: Positive = Field(50, description="epochs at the most")
    min_epochs: Positive = Field(1, description="epochs at the least, whatever the patience")
    patience: Positive = Field(5, description="epochs without a better validation metric before it stops")
    metric: str = Field(
        "ndcg@5",
        description="on validation, by which it stops, an epoch is kept, and ridge, PAMIR and One-vs-Rest are chosen: "
        "p@k, recall@k, ndcg@k or map@k",
    )
    validation_sample: Positive | None = Field(
        None, description="rows of validation, by hash, that the trainer looks at after an epoch; all where not given"
    )
    schedule: Schedule = Field("constant", description="how the learning rate goes on over the epochs")
    checkpoint_minutes: float = Field(
        10.0, gt=0, allow_inf_nan=False, description="minutes after which a checkpoint is kept within an epoch too"
    )
    refit: bool = Field(False, description="train once more, and build the base, on train + validation")
    memory: Positive = Field(2**30, description="bytes the trainer may hold; examples beyond are read again each epoch")
    warm_start: bool = Field(True, description="iteration ≥ 1 starts from the U and V of the one before")
    warm_rate: float = Field(
        0.25,
        gt=0,
        allow_inf_nan=False,
        description="factor on the learning rate of a warm start, the first that is tried",
    )
    sampler: Literal["auto"] | Sampler = Field(
        "auto", description="how negatives are drawn: geometric and rounds are one law, pooled is an estimate"
    )
    alpha: Alpha = Field("1/j", description="α of the rank's weight L(k) = Σ α_j; constant is AUC")
    top_k: Positive = Field(1, description='k of alpha = "top-k"')
    similarity: Similarity = Field("dot", description="of Ux and Vy; distances where run.iterations = 0")
    label_bias: bool = Field(
        False, description="the last of the D coordinates is a bias of the label; for one-hot users"
    )
    kernel: Literal["auto"] | KernelName = Field("auto", description="of the inner loops; auto is numba if installed")
    threads: Positive | None = Field(None, description="all CPUs where not given; no result depends on it")
    init_from: str | None = Field(None, description="folder of a model whose labels and features iteration 0 keeps")

    @field_validator("metric")
    @classmethod
    def _is_measured(cls, metric: str) -> str:
        length_of(metric)
        return metric


class Affinity(Section):
    """G(x, y): stored with the examples before they are trained on, or learnt jointly with U and V."""

    kind: StoredKind | JointKind = Field(
        "knn", description="member of the affinity family: awe_core.affinities.stored and .joint_kinds"
    )
    embedding: Literal["previous", "first"] = Field(
        "previous", description="U and V that G is made of: of the iteration before, or always Wsabie's"
    )
    input_weight: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="ρ: neighbours are near in Ux with ρ·x beside it; 0: in Ux alone"
    )
    alpha: float = Field(1.0, allow_inf_nan=False, description='α of kind = "linear-sigmoid", the most that G is')
    beta: float = Field(0.0, allow_inf_nan=False, description="β of it, the least")
    k: Positive = Field(5, description='of kind = "top-k": best features of x that are added up')
    rank: Positive = Field(8, description='of kind = "low-rank": columns of g and h')
    pairs: str | None = Field(
        None, description="pair-matrix: Parquet of feature, label, weight; of the model before where not given"
    )
    pair_labels: Positive = Field(50, description="pair-matrix of the model before: best labels of a feature")
    other: float = Field(0.0, ge=0, allow_inf_nan=False, description="pair-matrix: G of pairs that are not listed")
    n: Positive = Field(50, description="neighbours of an example")
    lambda_x: float = Field(4.0, gt=0, allow_inf_nan=False, description="λx in units of 1 / median d²")
    lambda_y: float = Field(
        math.inf, gt=0, description="λy in units of 1 / median d² of labels; inf: only equal labels count"
    )
    near_labels: Positive = Field(10, description="latent-rbf: nearest other labels of a label that count")
    leaf_rows: Positive = Field(500, description="cluster: training examples of a leaf, at the most about")
    leaf_labels: Positive = Field(50, description="cluster: most frequent labels of a leaf that are candidates")
    mode: Literal["sum", "max"] = Field("sum", description="how the neighbours that have y are joined")
    epsilon: float = Field(0.0, ge=0, lt=1, description="ε: G may be so much too small; far neighbours are left out")
    offset: float | Literal["learnt"] = Field(0.0, description="c of (s·G + b)·(f + c)")
    bias: float = Field(0.0, ge=0, allow_inf_nan=False, description="b of (s·G + b)·(f + c)")
    recall: float = Field(
        1.0, gt=0, le=1, description="share of the neighbours of training examples to find, by inverted lists; 1 is all"
    )
    folds: int = Field(
        1, ge=0, le=99, description="training examples have G of models trained without their own fold; 0 or 1: off"
    )
    shards: Positive | None = Field(None, description="of the base in the join; the plan's where not given")
    memory: Positive = Field(4 * 2**30, description="bytes that a worker of the join may use")

    @property
    def joint(self) -> Joint | None:
        """The affinity where it is learnt jointly with U and V; None where it is stored with the examples."""
        return joint_named(self.kind, self.model_dump()) if self.kind in JOINT_KINDS else None

    @property
    def settings(self) -> AffinitySettings:
        """What G is made with."""
        return AffinitySettings(**self.model_dump(include={one.name for one in fields(AffinitySettings)}))

    @property
    def stored(self) -> Stored | None:
        """What the kind is where it is stored with the examples."""
        return STORED_KINDS.get(self.kind)

    @property
    def embedded(self) -> bool:
        """Whether a G is stored that is made of Ux, and not of x itself."""
        return self.stored is not None and self.stored.embedded

    @property
    def by_neighbours(self) -> bool:
        """Whether a G is stored that is made of neighbours."""
        return self.stored is not None and self.stored.by_neighbours

    @property
    def compares_V(self) -> bool:
        """Whether labels are compared by the V of a model."""
        return self.stored is not None and self.stored.near_labels

    @property
    def out_of_fold(self) -> bool:
        """Whether G of the training examples is made by models that were not fitted to them."""
        return self.folds > 1

    def reads(self) -> dict[str, Any]:
        """The keys that G depends on, with their values."""
        return self.settings.reads()

    def ignores(self, key: str) -> bool:
        """Whether a key of this section says nothing of the kind, or is refused beside what is given."""
        stored, of_pairs = self.stored, self.kind == "pair-matrix"
        if key in ("pairs", "pair_labels", "other"):
            return not of_pairs
        if key in ("input_weight", "embedding"):
            return (stored is None or not stored.embedded) and not (of_pairs and key == "embedding")
        if key == "folds":
            return stored is None or not stored.flattered
        if key in _OF_SOME_KIND:
            return key not in keys_of(self.kind)
        if key in ("offset", "bias") and self.stored is None:
            return True
        compared = self.stored is not None and not self.stored.near_labels and math.isfinite(self.lambda_y)
        return key == "bias" and compared

    def as_knn(self) -> Affinity:
        """The same neighbours, of which only equal labels count: what the method `knn` ranks by."""
        return Affinity(n=self.n, lambda_x=self.lambda_x, mode=self.mode, epsilon=self.epsilon)

    def source(self, iteration: int) -> int:
        """The iteration whose model the affinity of an iteration is made of."""
        return iteration - 1 if self.embedding == "previous" else 0

    @model_validator(mode="after")
    def _fits(self) -> Affinity:
        _ = self.settings  # its values are checked where it is made
        return self


_OF_SOME_KIND = frozenset(key for kind in KINDS for key in keys_of(kind))


class Evaluate(Section):
    """What is ranked and counted."""

    k: Positive = Field(10, description="length of the predicted lists, and K of map@K")
    methods: Annotated[list[Method], Field(min_length=1)] | None = Field(
        None, description="methods to rank by; where not given all that fit the data but one-vs-rest and pamir"
    )


class Tune(Section):
    """What `awe tune` looks for, and where; no other command reads it."""

    metric: str = Field("ndcg@5", description="of the validation rows of results.json; the higher the better")
    starts: Positive = Field(3, description="best models of iteration 0 that the search of the others begins with")
    wsabie: Space = Field({}, description="laid over the search space of iteration 0, see docs/tuning.md")
    awe: Space = Field({}, description="laid over the search space of the iterations after it")


class Config(Section):
    """The whole configuration."""

    run: Run = Run()
    data: Data = Data()
    train: Train = Train()
    affinity: Affinity = Affinity()
    evaluate: Evaluate = Evaluate()
    tune: Tune = Tune()

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.data.train is None and self.data.format != "digits":
            raise ValueError("data.train is missing: name the training files")
        if self.data.hold_out and not any(isinstance(part, float) for part in (self.data.validation, self.data.test)):
            raise ValueError("data.hold_out takes items from train, and validation and test have files; leave it out")
        if self.data.landmarks and self.data.components > self.data.landmarks:
            raise ValueError(
                f"data.components = {self.data.components} are more than data.landmarks = {self.data.landmarks} make; "
                "lower one or raise the other"
            )
        neighbours = self.affinity.n * self.data.block_rows * 16
        if neighbours > ELEMENT_BYTES:
            raise ValueError(
                f"affinity.n × data.block_rows × 16 bytes is {neighbours:,}, above the {ELEMENT_BYTES:,} that one "
                "element may have; lower data.block_rows"
            )
        if self.run.iterations and self.train.similarity != "dot":
            raise ValueError(
                f'train.similarity = "{self.train.similarity}" is never positive and cannot be joined to an affinity; '
                'set run.iterations = 0, or train.similarity = "dot"'
            )
        if self.train.label_bias and (self.data.x == "history" or self.train.similarity != "dot" or self.train.D == 1):
            raise ValueError(
                'train.label_bias needs an x that is no history, train.similarity = "dot" and train.D of 2 or more'
            )
        if self.affinity.out_of_fold and self.run.iterations > 1 and self.affinity.embedding == "previous":
            raise ValueError(
                "affinity.folds are of Wsabie's embedding: with run.iterations above 1 give affinity.embedding = "
                '"first", or leave out affinity.folds'
            )
        if self.affinity.out_of_fold and self.train.init_from is not None:
            raise ValueError("affinity.folds: the model of train.init_from may have seen every fold; leave one out")
        ranked = {*METHODS_0, *(METHODS_T if self.run.iterations else ())}
        if self.evaluate.methods is not None and not ranked & {*self.evaluate.methods}:
            named = ", ".join(self.evaluate.methods)
            raise ValueError(f"evaluate.methods: with run.iterations = 0 there is no {named}; name one of iteration 0")
        _ = self.affinity.joint  # its parameters are checked where it is made
        if self.affinity.offset != "learnt" and not math.isfinite(self.affinity.offset):
            raise ValueError("affinity.offset is not finite")
        self._check_searched()
        return self

    def _check_searched(self) -> None:
        for space in (self.tune.wsabie, self.tune.awe):
            for section, keys in space.items():
                if section not in SEARCHED:
                    raise ValueError(f"tune: [{section}] is not searched; searched are {', '.join(SEARCHED)}")
                own = getattr(self, section)
                for key, values in keys.items():
                    if key not in type(own).model_fields:
                        known = ", ".join(type(own).model_fields)
                        raise ValueError(f"tune: unknown key {section}.{key}; known here: {known}")
                    for value in ends(values):
                        try:  # whether it goes with the others a trial shows
                            _field(type(own), key).validate_python(value)
                        except ValidationError as error:
                            message = error.errors(include_url=False)[0]["msg"]
                            raise ValueError(f"tune: {section}.{key}: {message}, not {value!r}") from None

    @property
    def folds(self) -> int:
        """F, where there is an iteration whose G is made out of fold; else 0."""
        return self.affinity.folds if self.affinity.out_of_fold and self.run.iterations else 0

    def methods(self, iteration: int, facts: Mapping[str, Any]) -> list[str]:
        """Methods to rank by at an iteration: the ones named, or all that go with the data and need not be asked for.

        `facts` are those of the examples. Where x is one-hot there is no input space to search or to regress on; where
        it is very wide, a full matrix would not fit into memory; an affinity that is learnt jointly stores no G. Raises
        ConfigError where such a method was named, or where x is one-hot and the affinity compares features or has
        folds, or where x cannot stand beside Ux.
        """
        known: tuple[str, ...] = METHODS_T if iteration else METHODS_0
        if self.folds and facts["one_hot"]:
            raise ConfigError(
                "affinity.folds: x names the user, of whom a model that was trained without him knows nothing; leave "
                'it out, or set data.x = "history"'
            )
        of_x = self.affinity.by_neighbours and not self.affinity.embedded
        if self.run.iterations and of_x and self.affinity.recall < 1 and facts["sparse"]:
            raise ConfigError("affinity.recall: rows of sparse x are joined exactly; leave it out")
        if self.run.iterations and self.affinity.input_weight:
            try:
                refuse_unfit_inputs(int(facts["dimension"]), bool(facts["sparse"]), bool(facts["one_hot"]))
            except ValueError as error:
                raise ConfigError(f"affinity.input_weight: {error}") from None
        reasons, joint = _unfit(facts), self.affinity.joint
        if self.run.iterations and joint is not None:
            if joint.of_features and facts["one_hot"]:
                raise ConfigError(
                    f'affinity.kind = "{joint.kind}" compares the features of x, and a one-hot user has one; set '
                    'data.x = "history"'
                )
            reasons |= dict.fromkeys(("knn-embedding", "gxf"), f'affinity.kind = "{joint.kind}" stores no G to rank by')
        if self.evaluate.methods is None:
            return [method for method in known if method not in reasons and method not in ASKED_FOR]
        for method in self.evaluate.methods:
            if method in reasons:
                raise ConfigError(
                    f"evaluate.methods: {method} does not go with this data: {reasons[method]}; leave it out"
                )
        return [method for method in known if method in self.evaluate.methods]

    def changed(self, values: Mapping[str, Any]) -> Config:
        """The configuration with some values by `section.key`, checked as a whole. Raises ConfigError."""
        raw = self.model_dump()
        for name, value in values.items():
            section, _, key = name.partition(".")
            raw[section][key] = value
        try:
            return Config.model_validate(raw)
        except ValidationError as error:
            raise ConfigError(_explain(error)) from None

    def to_toml(self, portable: bool = False) -> bytes:
        """The resolved configuration of what is run; keys without a value are left out.

        With `portable` also what was resolved for this machine alone.
        """
        left_out: dict[str, Any] = {"tune": True, **({"train": {"kernel"}} if portable else {})}
        return tomli_w.dumps(self.model_dump(exclude_none=True, exclude=left_out)).encode()


def _field(section: type[Section], key: str) -> TypeAdapter[Any]:
    """What a key of a section takes, whatever the others are."""
    field = section.model_fields[key]
    kind: Any = Annotated[field.annotation, field]
    return TypeAdapter(kind, config=ConfigDict(strict=True))


def _unfit(facts: Mapping[str, Any]) -> dict[str, str]:
    """The methods that do not go with the data, and why."""
    if facts["one_hot"]:
        return dict.fromkeys(("knn", *LINEAR), "x names the user and nothing else")
    d, labels = int(facts["dimension"]), int(facts["labels"])
    reasons = {}
    if ridge.bytes_needed(d, labels) > ridge.BYTES_AT_MOST:
        reasons["ridge"] = f"d = {d} would need more than {ridge.BYTES_AT_MOST >> 30} GiB"
    if passive_aggressive.bytes_needed(d, labels) > passive_aggressive.BYTES_AT_MOST:
        matrix = f"d × Y = {d * labels} would need more than {passive_aggressive.BYTES_AT_MOST >> 30} GiB"
        reasons |= dict.fromkeys(ASKED_FOR, matrix)
    return reasons


def parse_overrides(flags: Sequence[str]) -> dict[str, dict[str, Any]]:
    """`--section.key=value` flags as nested tables; values are TOML, and what is no TOML is a string."""
    tables: dict[str, dict[str, Any]] = {}
    for flag in flags:
        name, equals, text = flag.removeprefix("--").partition("=")
        section, _, key = name.partition(".")
        if not equals:
            raise ConfigError(f"{flag}: write --{name}=VALUE")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        tables.setdefault(section, {})[key] = value
    return tables


def load_config(fs: FileSystem, path: str | None, overrides: Mapping[str, Mapping[str, Any]]) -> Config:
    """Read the TOML, lay the overrides over it, and check the whole. Raises ConfigError with one line.

    `train.kernel = "auto"` is resolved for this machine, so that run.toml says which it was.
    """
    raw: dict[str, Any] = {}
    if path is not None:
        try:
            raw = tomllib.loads(read_bytes(fs, path).decode())
        except (IsADirectoryError, NotADirectoryError):
            raise ConfigError(f"--config={path}: is no file; give the TOML itself") from None
        except FileNotFoundError:
            raise ConfigError(f"{path}: there is no such configuration; give --config=FILE") from None
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: not a TOML file: {error}") from None
    for section, values in overrides.items():
        table = raw.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {section} has to be a table, [{section}]")
        table.update(values)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path or 'command line'}: {_explain(error)}") from None
    kernel = resolved_kernel(config.train.kernel)
    return config.model_copy(update={"train": config.train.model_copy(update={"kernel": kernel})})


def refuse_missing_kernel(config: Config) -> None:
    """Raises ConfigError where `train.kernel` is not installed: what only asks a run that stands does not train."""
    if config.train.kernel == "numba" and resolved_kernel("auto") != "numba":
        raise ConfigError(
            'train.kernel = "numba": it is not installed; pip install "affinity-weighted-embedding[fast]"'
        )


def _explain(error: ValidationError) -> str:
    errors = error.errors(include_url=False)
    first = errors[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(location[:2])
    if first["type"] == "extra_forbidden":
        known = Config.model_fields if len(location) == 1 else _section_fields(location[0])
        return f"unknown key {key}; known here: {', '.join(known)}"
    message = first["msg"].removeprefix("Value error, ")
    choices = [
        one["ctx"]["expected"]
        for one in errors
        if one["type"] == "literal_error" and one["loc"][:2] == first["loc"][:2]
    ]
    if len(choices) > 1:
        message = f"Input should be one of {', '.join(choices).replace(' or ', ', ')}"
    said_whole = first["type"] == "value_error" and len(location) < 2  # it names keys and values itself
    return message if said_whole else f"{key}: {message}, not {first['input']!r}"


def _section_fields(section: str) -> Sequence[str]:
    kind = Config.model_fields[section].annotation
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def resolve(config: Config, path: str) -> str:
    """A path of the data section: as it stands if absolute or a URI, else below data.root or AWE_DATA.

    Raises ConfigError where the path is relative and neither is set.
    """
    if os.path.isabs(path) or "://" in path:
        return path
    root = config.data.root or os.environ.get("AWE_DATA")
    if not root:
        raise ConfigError(
            f"{path}: the data's folder is not known: give the whole path, --data.root=FOLDER (. is this one), or set "
            "the variable AWE_DATA"
        )
    return BeamFileSystem().join(root, path)
