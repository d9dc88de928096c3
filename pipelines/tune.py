"""Tune: settings chosen by validation alone.

    raw files of train and validation  →  trials.json, best.toml, wsabie.toml

Two searches, one after the other. That of Wsabie trains model-0 for every trial; the best few stay. That of AWE begins
each trial with one of these, and makes G and the later iterations anew. The stages are those of a run, on a lane that
has no test: `examples/test` is never built, and a run directory where it stands is refused.

A trial is measured on several seeds, which have validation splits of their own; after each the search may give it up.
Every trial is a function of the request and the trials before it, so a search that was stopped goes on as if it had not
been.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from awe_core.arrangement import hash_key
from awe_core.metrics import cutoffs
from pipelines import annotate, evaluate, ingest, log, train
from pipelines.config import Config
from pipelines.datasets.models import model_file
from pipelines.errors import ConfigError, DataError, StoreError
from pipelines.results_table import read_results
from pipelines.run_directory import Lane, RunDirectory
from pipelines.stage import Context
from pipelines.tuning.search_space import AWE, WSABIE, Range, Space, Values, ends, flat, holds
from pipelines.tuning.trials import State, Trial, Trials
from pipelines.whole_run import train_iteration
from schemas.manifest import find_manifest
from schemas.model_file import MODEL
from schemas.tables import SPLITS

LEARNT = ("train", "validation")
START = "start"
"""Among a trial's settings: the trial of Wsabie whose model it begins with."""

_UNDECIDED = {"train": ("kernel", "memory", "threads", "checkpoint_minutes"), "affinity": ("shards", "memory")}
"""Keys that no trial depends on but for its speed, or on the kernel for a model's last bits."""

_STARTUP = 10
"""Trials that are drawn at random, before the earlier ones say where to look."""

Measure = Callable[[int, Mapping[str, Any], int], tuple[dict[str, float], list[int]]]
"""(number of the trial, settings, seed) → validation metrics, epochs kept."""


@dataclass(frozen=True)
class Request:
    """How long to search.

    Attributes
    ----------
    minutes : for everything; half of them for Wsabie where other iterations follow. None: no bound.
    trials : of each search. None: no bound.
    seeds : of the runs that every trial is measured by.
    seed : of the search itself.
    """

    minutes: float | None
    trials: int | None
    seeds: tuple[int, ...]
    seed: int


def main(context: Context, request: Request) -> str:
    """Search, or go on with it; the path of the configuration that won.

    Raises
    ------
    ConfigError
        The run has a test split; the metric is not known; what stands there is of another search: before any work.
        The data have changed since: before any trial.
    DataError
        No trial could be finished.
    """
    contexts = {seed: _of_seed(context, seed) for seed in request.seeds}
    _refuse_test(context, list(contexts.values()))
    _check_metric(context.config)
    path = context.run.path("trials.json")
    trials = Trials.load(context.fs, path, _asked(context.config, request))
    began = time.monotonic()
    examples: dict[str, str] = {}
    for one in contexts.values():
        ingest.main(one, LEARNT)
        examples |= {context.short(one.run.examples(split)): one.examples(split).fingerprint for split in LEARNT}
    trials.measured_on(examples, path)
    trials.seconds_before = trials.seconds_before or time.monotonic() - began
    last = context.config.run.iterations
    if not trials.searches.get("awe"):  # whose trials begin with the best of what there was
        Search("wsabie", WSABIE, context, request, trials, _wsabie(contexts), 0.5 if last else 1.0).run()
    _put(context, "wsabie" if last else "best", "wsabie", trials, request)
    if last:
        Search("awe", AWE, context, request, trials, _awe(contexts, trials), 1.0).run()
        _put(context, "best", "awe", trials, request)
    return context.run.path("best.toml")


def _of_seed(context: Context, seed: int) -> Context:
    config = context.config.changed({"run.seed": seed})
    return Context(config, RunDirectory(context.run.path(f"seed-{seed}")), context.fs, context.options)


def _refuse_test(whole: Context, of_seeds: Sequence[Context]) -> None:
    refused = (
        f"--run={whole.run.root}: %s there, and settings are not chosen where test can be seen; give a run directory "
        "of their own"
    )
    for context in (whole, *of_seeds):
        if find_manifest(context.fs, context.run.examples("test")) is not None:
            raise ConfigError(refused % "examples/test is built")
        results = read_results(context.fs, context.run.path("results.json"))
        if any(split == "test" for split, _, _ in results):
            raise ConfigError(refused % "results on test stand")
    if whole.fs.exists(whole.run.path("summary.json")):  # of whichever seeds
        raise ConfigError(refused % "results on test stand")


def _check_metric(config: Config) -> None:
    k = config.evaluate.k
    kinds = ("p", "recall", "ndcg", *(["sibling-p"] if config.data.hierarchy else []))
    names = [f"{name}@{j}" for j in cutoffs(k) for name in kinds] + [f"map@{k}"]
    names += [f"{name}-all" for name in names if name.startswith("p@")]
    if config.tune.metric not in names:
        raise ConfigError(f"tune.metric = {config.tune.metric}: with evaluate.k = {k} there are {', '.join(names)}")


def _asked(config: Config, request: Request) -> dict[str, Any]:
    """What the trials depend on."""
    kept = config.model_dump(mode="python", exclude={"run": {"seed"}, "evaluate": {"methods"}, "tune": True})
    for section, keys in _UNDECIDED.items():
        kept[section] = {key: value for key, value in kept[section].items() if key not in keys}
    # Where the data lie is not what they are; a share of the rows that is held out is.
    kept["data"] = {
        key: value
        for key, value in kept["data"].items()
        if key != "root" and (key not in SPLITS or isinstance(value, float))
    }
    space = {name: _described(_space(config, name, given)) for name, given in (("wsabie", WSABIE), ("awe", AWE))}
    return {
        "metric": config.tune.metric,
        "seeds": list(request.seeds),
        "seed": request.seed,
        "starts": config.tune.starts,
        "space": space,
        "configuration": kept,
    }


def _space(config: Config, search: str, given: Space) -> dict[str, Values]:
    """The space by `section.key`, without keys that say nothing of any kind of affinity that is tried."""
    space = flat(given, config.tune.wsabie if search == "wsabie" else config.tune.awe)
    kinds = ends(space["affinity.kind"]) if "affinity.kind" in space else [config.affinity.kind]
    tried = [config.affinity.model_copy(update={"kind": kind}) for kind in kinds]
    kept = {}
    for name, values in space.items():
        section, _, key = name.partition(".")
        if section != "affinity" or not all(one.ignores(key) for one in tried):
            kept[name] = values
    return kept


def _described(space: Mapping[str, Values]) -> dict[str, Any]:
    return {name: one.model_dump() if isinstance(one, Range) else one for name, one in space.items()}


# --- What a trial measures ---


def _lane(context: Context, number: int) -> Lane:
    """Of a trial of Wsabie, and of those of AWE that begin with it: fitted on train, stopped by validation."""
    return Lane(context.run.path(f"wsabie-{number}"), ("train",), "validation", LEARNT, ("validation",))


def _with(context: Context, settings: Mapping[str, Any], method: str) -> Context:
    config = context.config.changed({**settings, "evaluate.methods": [method]})
    return replace(context, config=config)


def _epochs(context: Context, lane: Lane, iteration: int) -> int:
    return int(model_file(context.fs, lane.model(iteration), iteration).facts["best_epoch"])


def _measured(context: Context, lane: Lane, iteration: int, method: str) -> dict[str, float]:
    annotate.main(context, lane, iteration)
    evaluate.main(context, lane, iteration)
    row = read_results(context.fs, context.run.path("results.json")).get(("validation", iteration, method))
    if row is None:
        raise DataError("no example of validation has a label; give more rows, or raise data.validation")
    return dict(row["metrics"])


def _wsabie(contexts: Mapping[int, Context]) -> Measure:
    def measure(number: int, settings: Mapping[str, Any], seed: int) -> tuple[dict[str, float], list[int]]:
        without_folds = {**settings, "affinity.folds": 1}  # which are trained where a trial makes G by them
        context = _with(contexts[seed], without_folds, "wsabie")
        lane = _lane(context, number)
        train.main(context, lane, 0)
        return _measured(context, lane, 0, "wsabie"), [_epochs(context, lane, 0)]

    return measure


def _awe(contexts: Mapping[int, Context], trials: Trials) -> Measure:
    def measure(number: int, settings: Mapping[str, Any], seed: int) -> tuple[dict[str, float], list[int]]:
        start = int(settings[START])
        own = {name: value for name, value in settings.items() if name != START}
        beginning = _values(trials.searches["wsabie"][start].settings, contexts[seed].config, "wsabie", WSABIE)
        context = _with(contexts[seed], {**beginning, **own}, "awe")
        lane, last = _lane(context, start), context.config.run.iterations
        for iteration in range(last + 1):  # the first stands there, unless somebody removed it
            train_iteration(context, lane, iteration)
        kept = [_epochs(context, lane, iteration) for iteration in range(1, last + 1)]
        return _measured(context, lane, last, "awe"), kept

    return measure


def _values(stored: Mapping[str, Any], config: Config, search: str, given: Space) -> dict[str, Any]:
    """Settings as trials.json has them, as a configuration takes them: of lists the value itself."""
    space = _space(config, search, given)
    return {name: _value(space.get(name), value) for name, value in stored.items()}


def _value(values: Values | None, stored: Any) -> Any:
    """An infinity was written by its name."""
    return float(stored) if stored == "inf" and isinstance(values, list) and stored not in values else stored


# --- The search ---


class Search:
    """One search under way.

    Parameters
    ----------
    name : of the search in trials.json.
    given : its space as it comes.
    share : of the minutes that may be gone when it ends.
    """

    def __init__(
        self,
        name: str,
        given: Space,
        context: Context,
        request: Request,
        trials: Trials,
        measure: Measure,
        share: float,
    ) -> None:
        self._name, self._context, self._request, self._trials = name, context, request, trials
        self._measure, self._metric = measure, context.config.tune.metric
        self._allowed = None if request.minutes is None else 60 * share * request.minutes
        self._space = _space(context.config, name, given)
        if name == "awe":
            best = trials.ranked("wsabie", self._metric)[: context.config.tune.starts]
            self._space[START] = [trial.number for trial in best]
        self._done = trials.searches.setdefault(name, [])
        self._study = self._resumed()

    def run(self) -> None:
        """Trials until there are enough or the time is up."""
        while self._goes_on():
            began = time.monotonic()
            number = len(self._done)
            # Its own stream for every trial: one that was killed is drawn again as it was.
            seed = int(hash_key(self._request.seed, f"tune/{self._name}/{number}") & 0xFFFFFFFF)
            self._study.sampler = _sampler(seed)
            asked = self._study.ask(self._distributions)
            with log.without_progress():
                trial = self._tried(asked, asked.params)
            self._done.append(replace(trial, seconds=time.monotonic() - began))
            self._tell(asked, self._done[-1])
            self._trials.save(self._context.fs, self._context.run.path("trials.json"))
            self._say(self._done[-1])
            if self._name == "wsabie":
                self._forget()

    def _goes_on(self) -> bool:
        if self._request.trials is not None and len(self._done) >= self._request.trials:
            return False
        if self._allowed is None or not self._done:
            return True
        usual = statistics.median(trial.seconds for trial in self._done)
        return self._trials.seconds + usual <= self._allowed

    @property
    def _distributions(self) -> dict[str, BaseDistribution]:
        return {name: _distribution(values) for name, values in self._space.items()}

    def _resumed(self) -> optuna.Study:
        """A study that knows the trials so far. The first one tries the settings as they were given."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        pruner = optuna.pruners.MedianPruner(n_startup_trials=4)
        study = optuna.create_study(direction="maximize", sampler=_sampler(0), pruner=pruner)
        for trial in self._done:
            study.add_trial(self._frozen(trial))
        own = self._own()
        if not self._done and own is not None:
            study.enqueue_trial(own)
        return study

    def _own(self) -> dict[str, Any] | None:
        own = {}
        for name, values in self._space.items():
            section, _, key = name.partition(".")
            given = ends(values)[0] if name == START else getattr(getattr(self._context.config, section), key)
            if not holds(values, given):
                log.info(f"{name} = {given} is not among the values searched: the configuration itself is not tried")
                return None
            own[name] = given
        return own

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        params = {name: _value(self._space[name], value) for name, value in trial.settings.items()}
        means = {step: trial.mean(self._metric, step + 1) for step in range(len(trial.validation))}
        states = optuna.trial.TrialState
        return optuna.trial.create_trial(
            state=states.PRUNED if trial.state == "pruned" else states.COMPLETE,
            params=params,
            distributions=self._distributions,
            value=means[len(means) - 1] if trial.state != "failed" else 0.0,
            intermediate_values=means,
        )

    def _tried(self, asked: optuna.Trial, settings: dict[str, Any]) -> Trial:
        """Measure on one seed after the other, until it falls behind."""
        validation: list[dict[str, float]] = []
        epochs: list[int] = []
        state: State = "complete"
        reason = None
        for step, seed in enumerate(self._request.seeds):
            try:
                metrics, kept = self._measure(len(self._done), settings, seed)
            except StoreError:  # of which the settings are innocent: the same command tries them again
                raise
            except (DataError, ConfigError) as error:  # settings that diverge, cover nothing or do not fit into memory
                state, reason = "failed", str(error)
                break
            validation.append(metrics)
            epochs += kept
            asked.report(statistics.fmean(one[self._metric] for one in validation), step)
            if step + 1 < len(self._request.seeds) and asked.should_prune():
                state = "pruned"
                break
        return Trial(len(self._done), settings, state, validation, epochs, 0.0, reason)

    def _tell(self, asked: optuna.Trial, trial: Trial) -> None:
        if trial.state == "pruned":
            self._study.tell(asked, state=optuna.trial.TrialState.PRUNED)
        else:  # what cannot be trained is as bad as can be, so that the search keeps away from it
            self._study.tell(asked, trial.mean(self._metric) if trial.state == "complete" else 0.0)

    def _say(self, trial: Trial) -> None:
        score = f"{100 * trial.mean(self._metric):.2f} %" if trial.validation else str(trial.reason)
        log.info(f"{self._name} trial {trial.number}, {trial.state}: {self._metric} {score} with {trial.described}")

    def _forget(self) -> None:
        """Remove the models that no trial will begin with."""
        complete = [trial for trial in self._done if trial.state == "complete"]
        complete.sort(key=lambda trial: (-trial.mean(self._metric), trial.number))
        kept = {trial.number for trial in complete[: self._context.config.tune.starts]}
        fs = self._context.fs
        for number in {trial.number for trial in self._done} - kept:
            for seed in self._request.seeds:
                directory = _lane(_of_seed(self._context, seed), number).model(0)
                # model.json first: without it there is no model.
                fs.delete([fs.join(directory, MODEL)])
                fs.delete([fs.join(directory, name) for name in fs.names(directory)])


def _sampler(seed: int) -> optuna.samplers.TPESampler:
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP)


def _distribution(values: Values) -> BaseDistribution:
    if not isinstance(values, Range):
        return CategoricalDistribution(values)
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


# --- The configuration that won ---


def _put(context: Context, file: str, search: str, trials: Trials, request: Request) -> None:
    """Write a configuration that `awe run` takes as it is, with the command's own data, seed and methods."""
    metric = context.config.tune.metric
    best = trials.ranked(search, metric)[0]
    own = {name: value for name, value in best.settings.items() if name != START}
    values = _values(own, context.config, search, AWE if search == "awe" else WSABIE)
    if search == "awe":
        start = trials.searches["wsabie"][int(best.settings[START])].settings
        values = {**_values(start, context.config, "wsabie", WSABIE), **values}
    else:
        values["run.iterations"] = 0
    content = context.config.changed(values).to_toml(portable=True)
    said = _said_of(best, search, metric, trials, request)
    context.fs.put(context.run.path(f"{file}.toml"), said.encode() + content)
    log.info(f"{file}.toml: {metric} {100 * best.mean(metric):.2f} % on validation, {best.described}")


def _said_of(best: Trial, search: str, metric: str, trials: Trials, request: Request) -> str:
    score, seeds = f"{metric} {100 * best.mean(metric):.2f} %", ", ".join(map(str, request.seeds))
    return (
        f"# Chosen by awe tune on validation alone: trial {best.number} of {len(trials.searches[search])} of {search}, "
        f"{score} (seeds {seeds}).\n\n"
    )
