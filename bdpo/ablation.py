"""`bdpo ablate`: several methods on the same pairs and scores, each with its fair best.

Every method tries every learning rate with the first seed; the one whose policy does best on the validation split
goes on, and is trained and evaluated with every seed.  The policy of a training is that of its best evaluation where
`train.early_stopping` is set, so its length is chosen by the same split, and that of its last step elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bdpo.config import Config
from bdpo.config.methods import Method
from bdpo.config.train import ValidationMetric
from bdpo.errors import UserError
from bdpo.evaluation.caveats import shown_caveats
from bdpo.evaluation.comparison import FIGURE, Comparison, Outcomes, figure_name, load_run, not_compared
from bdpo.evaluation.seeds import judged_by_all, seeded_difference, seeded_rate
from bdpo.evaluation.statistics import holm
from bdpo.evaluation.summary import HELD_OUT, shown_p
from bdpo.fingerprints import STAGES, Stage
from bdpo.pipeline import Pipeline, StageResult
from bdpo.progress import Progress
from bdpo.schemas import Checks


class Trial(NamedTuple):
    """One training of the search for a learning rate."""

    method: Method
    learning_rate: float
    validation: float
    """`choose_by` of its policy."""
    chosen: bool


class Ablation(NamedTuple):
    """What came of it."""

    trials: list[Trial]
    table: list[dict[str, str]]
    """For people: a row a figure, a column a method, in per cent."""
    records: list[dict[str, Any]]
    """The same in full precision, a row a figure and method."""
    not_compared: list[str]
    """Figures that are in the runs' own reports alone, as people call them."""
    caveats: Sequence[str]
    """What the p values do not know."""
    trainings: int
    sequences: int
    """That the trainings share; 0 where no method has a reference model, and nothing is scored."""
    sequences_scored: int
    """Scored in this call: none where an earlier one has done so."""
    rescored: int
    """Scored again for a later training: 0, or something is wrong."""


def ablate(config: Config, *, checks: Checks, progress: Progress) -> Ablation:
    """Train, choose, evaluate and compare; what is cached is not done again.

    Args:
        config: with its section `ablation`.
        checks: validation of the stages.
        progress: where to show what happens.

    Raises:
        UserError: there is no such section or no validation split, or a stage finds something to put right.
    """
    plan = config.ablation
    if plan is None:
        raise UserError(f"config {config.name!r} has no section `ablation` (methods, learning rates, seeds): add it.")
    runner = _Runner(config, checks, progress)
    pipeline = Pipeline(config, checks=checks)
    pipeline.require_files()
    pipeline.require_packages(STAGES)
    trials = []
    for method in plan.methods:
        found = {rate: runner.train(method, rate, plan.seeds[0]) for rate in plan.learning_rates}
        values = {rate: validation_of(artifact, step, plan.choose_by) for rate, (artifact, step) in found.items()}
        chosen = (min if plan.choose_by == "eval_loss" else max)(values, key=values.__getitem__)
        trials += [Trial(method, rate, value, rate == chosen) for rate, value in values.items()]
    runs = {
        trial.method: [runner.evaluate(trial.method, trial.learning_rate, seed) for seed in plan.seeds]
        for trial in trials
        if trial.chosen
    }
    comparison = compare(config.artifacts, runs, config.evaluate.confidence)
    scored = runner.scored or [0]
    left_out = [
        f"{name} ({_CHOSEN_BY})" if name == HELD_OUT and len(plan.learning_rates) > 1 else name
        for name in comparison.not_compared
    ]
    # Of one config: every run is asked the same prompts.
    return Ablation(
        trials,
        comparison.table,
        comparison.records,
        left_out,
        comparison.caveats,
        len(runner.trained),
        runner.sequences,
        scored[0],
        sum(scored[1:]),
    )


_CHOSEN_BY = "by which the learning rates were chosen, so too good"
"""Said of held-out pairs: no run's own report knows of the others."""


class _Runner:
    """Runs the stages of one training after another, and counts what they share."""

    def __init__(self, config: Config, checks: Checks, progress: Progress) -> None:
        self._config = config
        self._checks = checks
        self._progress = progress
        self.trained: set[Path] = set()
        self.sequences = 0
        self.scored: list[int] = []
        """Sequences that each run with a reference model had to score."""

    def train(self, method: Method, learning_rate: float, seed: int) -> tuple[Path, int]:
        """The artifact of a training, and the step whose weights its policy has."""
        result = self._stages(self._variant(method, learning_rate, seed), "train")
        return result.artifact, result.summary["policy_of_step"]

    def evaluate(self, method: Method, learning_rate: float, seed: int) -> str:
        """Name of the run of an evaluated training."""
        variant = self._variant(method, learning_rate, seed)
        self._stages(variant, "evaluate")
        return variant.name

    def _variant(self, method: Method, learning_rate: float, seed: int) -> Config:
        name = f"{self._config.name}-{method}-{learning_rate:g}-{seed}"
        train = self._config.trained_by(method, learning_rate=learning_rate, seed=seed)
        return self._config.model_copy(update={"name": name, "train": train})

    def _stages(self, config: Config, last: Stage) -> StageResult:
        """Run the stages that this method has, up to `last`; what came of that one."""
        self._progress.say(f"ablation: {config.name}")
        pipeline = Pipeline(config, checks=self._checks)
        for stage in pipeline.stages[: pipeline.stages.index(last) + 1]:
            result = pipeline.run_stage(stage, progress=self._progress)
            if stage == "score":
                self.sequences = result.summary["sequences"]
                self.scored.append(0 if result.cached else result.summary["sequences_scored"])
            elif stage == "train":
                self.trained.add(result.artifact)
        pipeline.require_pushed()
        return result


def validation_of(trained: Path, step: int, metric: ValidationMetric) -> float:
    """A metric of a training's policy on the validation split: not of a better step, whose weights it does not have.

    Args:
        trained: the artifact.
        step: whose weights the policy has.
        metric: what is asked.

    Raises:
        UserError: nothing was evaluated.
    """
    rows = pq.read_table(trained / "metrics.parquet", columns=["step", "split", "metric", "value"])
    own = (pc.field("split") == "validation") & (pc.field("metric") == metric) & (pc.field("step") == step)
    values = rows.filter(own)["value"].to_pylist()
    if not values:
        raise UserError(
            "An ablation chooses by the validation split, which is empty: raise ingest.validation_fraction."
        )
    return float(values[0])


def compare(root: Path, runs: dict[Method, list[str]], confidence: float) -> Comparison:
    """The methods' rates over prompts and seeds; every method is held against the first.

    A figure is taken over the prompts that have a verdict from every run; the others are its `unscored`.

    Args:
        root: the folder of artifacts.
        runs: method to the names of its runs, a run a seed.
        confidence: level of the intervals.

    Returns:
        A table for people, a column a method, and the records behind it; p values are corrected by Holm over all of
        them.
    """
    loaded = {method: [load_run(root, name) for name in names] for method, names in runs.items()}
    first, *others = loaded
    base = loaded[first][0].base
    outcomes: dict[str, list[Outcomes]] = {"base": [base]}
    outcomes |= {method: [run.aligned for run in own] for method, own in loaded.items()}
    asked = {figure: list(verdicts) for figure, verdicts in base.items()}
    every = {
        figure: [[run[figure][i] for i in ids] for own in outcomes.values() for run in own]
        for figure, ids in asked.items()
    }
    table, records = [], []
    for (benchmark, metric), ids in asked.items():
        known = judged_by_all(every[benchmark, metric])
        row = {FIGURE: figure_name(benchmark, metric)}
        values = {
            name: np.array([[float(run[benchmark, metric][i] or 0) for i in ids] for run in own]).T[known]
            for name, own in outcomes.items()
        }
        for name, own in values.items():
            record: dict[str, Any] = {"benchmark": benchmark, "metric": metric, "model": name, "value": None, "n": 0}
            record["unscored"] = int((~known).sum())
            if known.any():
                record |= seeded_rate(own, confidence)._asdict()
                if name in others:
                    difference = seeded_difference(values[first], own, confidence)
                    record |= {"difference": difference.value, "difference_low": difference.low}
                    record |= {"difference_high": difference.high, "p_value": difference.p_value}
            records.append(record)
        table.append(row)
    tested = [record for record in records if "p_value" in record]
    for record, p in zip(tested, holm([record["p_value"] for record in tested]), strict=True):
        record["p_adjusted"] = p
    for row in table:
        for record in records:
            if figure_name(record["benchmark"], record["metric"]) == row[FIGURE]:
                row[record["model"]] = _shown(record, confidence)
    names = list(dict.fromkeys(name for record in records for name in record))
    in_full = [{name: record.get(name) for name in names} for record in records]
    every_run = [run for own in loaded.values() for run in own]
    caveats = shown_caveats([run.caveats for run in every_run], asked, every)
    return Comparison(table, in_full, not_compared(every_run, base), caveats=caveats)


def _shown(record: dict[str, Any], confidence: float) -> str:
    """A rate with its interval, n and spread over seeds; the difference and its corrected p."""
    unscored = f", {record['unscored']} without a verdict from every run" if record["unscored"] else ""
    if record["value"] is None:
        return f"no value\n(n = 0{unscored})"
    text = f"{100 * record['value']:.1f} [{100 * record['low']:.1f}, {100 * record['high']:.1f}]"
    seeds = f", {record['seeds']} seeds {100 * record['lowest']:.1f} to {100 * record['highest']:.1f}"
    text += f"\n(n = {record['n']}{unscored}{seeds if record['seeds'] > 1 else ''})"
    if "p_adjusted" in record:
        low, high = 100 * record["difference_low"], 100 * record["difference_high"]
        text += f"\n{100 * record['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
        text += f"\n{shown_p(record['p_adjusted'], confidence)}"
    return text
