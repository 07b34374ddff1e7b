"""`bdpo compare`: the aligned models of several runs on the same prompts."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from bdpo.artifacts.catalogue import run_records
from bdpo.artifacts.manifest import find_damage, read_manifest
from bdpo.errors import UserError
from bdpo.evaluation.benchmarks import METRICS
from bdpo.evaluation.caveats import Caveats, read_caveats, shown_caveats
from bdpo.evaluation.statistics import holm, paired_difference, rate
from bdpo.evaluation.summary import WORDS, other_n, percent, points, shown_p

Outcomes = dict[tuple[str, str], dict[str, bool | None]]
"""(benchmark, metric) to prompt id to whether it counts."""

_COUNTS = {"harmful": "refusal", "harmless": "refusal", "attack": "compliance", "question": "right", "choice": "right"}
"""Label to the verdict that its metric counts."""


FIGURE = "figure (%)"
_BASE = "base model"
"""What the first column and the base model are called among runs, whose names hold no space."""


class RunOutcomes(NamedTuple):
    """The evaluation of one run."""

    name: str
    base_keys: dict[tuple[str, str, str], str]
    """(benchmark, label, prompt id) to the key of the base model's reply, which covers its weights."""
    held_against: dict[tuple[str, str, str], str | None]
    """The same to the answer or goal that its verdict goes by, which is in no key of a reply."""
    base: Outcomes
    aligned: Outcomes
    judged_by: dict[str, str]
    """What of the evaluation's settings and code decides a verdict."""
    trained: str
    """Content digest of the training's artifact; the run's record names no training where `evaluate` ran alone."""
    figures: list[tuple[str, str]]
    """(benchmark, metric) of all that was evaluated; those of `lm-eval` and of held-out pairs have no `Outcomes`."""
    caveats: Caveats


class Comparison(NamedTuple):
    """Several runs side by side."""

    table: list[dict[str, str]]
    """For people: a row a figure, a column a model, in per cent; under each the difference from the first run."""
    records: list[dict[str, Any]]
    """The same in full precision, a row a figure and model."""
    not_compared: list[str]
    """Figures that are in the runs' own reports alone, as people call them."""
    partly: Sequence[str] = ()
    """Figures of which some run was asked more prompts than all were, as `50 of 100 prompts of xstest, ...`."""
    trainings: int = 1
    """How many the runs are."""
    caveats: Sequence[str] = ()
    """What the p values do not know."""


def compare_runs(root: Path, names: Sequence[str], confidence: float) -> Comparison:
    """Compare the latest evaluations of named runs.

    A figure is taken over the prompts that all runs have.  Every run is tested against the first one by
    McNemar's exact test; the p values are corrected by Holm over all figures and runs.

    Args:
        root: the folder of artifacts.
        names: of runs, two or more; the first is what the others are compared with.
        confidence: level of the intervals.

    Raises:
        UserError: a run is not there or not evaluated, base models, judges or answers differ, or no prompt is
            shared.
    """
    names = list(dict.fromkeys(names))
    if len(names) < 2:
        raise UserError("compare: two runs or more with different names are needed.")
    runs = [load_run(root, name) for name in names]
    first, *others = runs
    for run in others:
        asked = _first_difference(first.base_keys, run.base_keys)
        if asked is not None:
            raise UserError(
                f"compare: runs {first.name!r} and {run.name!r} have different base models, decoding settings or "
                f"files of prompts: {asked} is not the same question to the same model."
            )
        differing = sorted({name for name, _ in first.judged_by.items() ^ run.judged_by.items()})
        if differing:
            raise UserError(
                f"compare: runs {first.name!r} and {run.name!r} were judged differently ({', '.join(differing)}): "
                "run both again with one judge and this version of bdpo; no completion is generated twice."
            )
        answered = _first_difference(first.held_against, run.held_against)
        if answered is not None:
            raise UserError(
                f"compare: runs {first.name!r} and {run.name!r} hold {answered} against different answers or goals: "
                "the file was changed in between; run both again with it as it is now. No completion is generated "
                "twice."
            )
    figures = {
        figure: sorted(set.intersection(*(set(run.aligned[figure]) for run in runs)))
        for figure in first.aligned
        if all(figure in run.aligned for run in runs)
    }
    figures = {figure: ids for figure, ids in figures.items() if ids}
    if not figures:
        raise UserError(
            f"compare: runs {', '.join(names)} were evaluated on no common prompt: run them again with the same "
            "`evaluate.benchmarks` under the same names (their limits may differ)."
        )
    tests = {
        (figure, run.name): paired_difference(
            [first.aligned[figure][i] for i in ids], [run.aligned[figure][i] for i in ids], confidence
        )
        for figure, ids in figures.items()
        for run in others
    }
    corrected = dict(zip(tests, holm([test.p_value for test in tests.values()]), strict=True))
    table, records = [], []
    for figure, ids in figures.items():
        benchmark, metric = figure
        row = {FIGURE: figure_name(benchmark, metric)}
        models = {_BASE: first.base} | {run.name: run.aligned for run in runs}
        rates = {name: rate([outcomes[figure][i] for i in ids], confidence) for name, outcomes in models.items()}
        for name, found in rates.items():
            record = {"benchmark": benchmark, "metric": metric, "model": name, **found._asdict()}
            row[name] = percent(found).replace(" (n", "\n(n")
            test = tests.get((figure, name))
            if test is not None:
                p = corrected[figure, name]
                record |= {"difference": test.value, "difference_n": test.n, "difference_low": test.low}
                record |= {"difference_high": test.high, "p_value": test.p_value, "p_adjusted": p}
                if test.value is not None and p is not None:
                    row[name] += f"\n{points(test)}{other_n(test, rates[first.name], found)}\n{shown_p(p, confidence)}"
            records.append(record)
        table.append(row)
    names_of_all = list(dict.fromkeys(name for record in records for name in record))
    in_full = [{name: record.get(name) for name in names_of_all} for record in records]
    partly = [
        f"{len(ids)} of {most} prompts of {figure_name(*figure)}"
        for figure, ids in figures.items()
        if (most := max(len(run.aligned[figure]) for run in runs)) > len(ids)
    ]
    verdicts = {figure: [[run.aligned[figure][i] for i in ids] for run in runs] for figure, ids in figures.items()}
    caveats = shown_caveats([run.caveats for run in runs], figures, verdicts)
    trainings = len({run.trained for run in runs})
    return Comparison(table, in_full, not_compared(runs, figures), partly, trainings, caveats)


def figure_name(benchmark: str, metric: str) -> str:
    """A figure, as people call it."""
    return f"{benchmark}, {WORDS[metric]}"


def not_compared(runs: Sequence[RunOutcomes], compared: Collection[tuple[str, str]]) -> list[str]:
    """What was evaluated and stays out of a comparison, as people call it, each once.

    Args:
        runs: that are compared.
        compared: (benchmark, metric) of the figures that are.
    """
    names = {
        (benchmark, metric): figure_name(benchmark, metric) if (benchmark, metric) in run.aligned else benchmark
        for run in runs
        for benchmark, metric in run.figures
        if (benchmark, metric) not in compared
    }
    return list(names.values())


def load_run(root: Path, name: str) -> RunOutcomes:
    """The latest evaluated run of a name.

    Raises:
        UserError: there is none, or it is damaged.
    """
    records = [record for record in run_records(root) if record.get("evaluate")]
    own = [record for record in records if record["name"] == name]
    if not own:
        known = ", ".join(sorted({record["name"] for record in records})) or "none"
        raise UserError(f"compare: there is no evaluated run {name!r} in {root}; evaluated runs: {known}.")
    latest = own[-1]  # an earlier one was made from something else
    folder = root / "evaluate" / latest["evaluate"]
    manifest = read_manifest(folder)
    if manifest is None or find_damage(folder, manifest) is not None:
        raise UserError(f"compare: {folder}, the evaluation of run {name!r}, is gone or damaged; run it again.")
    judged_by = {
        name: str(value)
        for name, value in manifest.reads.items()
        if name == "code" or name.startswith("evaluate.judge")
    }
    rows = pq.read_table(folder / "judgements.parquet").to_pylist()
    base = [row for row in rows if row["model"] == "base"]
    keys = {(row["benchmark"], row["label"], row["prompt_id"]): row["key"] for row in base}
    held_against = {(row["benchmark"], row["label"], row["prompt_id"]): row.get("held_against") for row in base}
    aligned = [row for row in rows if row["model"] == "aligned"]
    summary = pq.read_table(folder / "eval_summary.parquet", columns=["benchmark", "metric"]).to_pylist()
    figures = list(dict.fromkeys((row["benchmark"], row["metric"]) for row in summary))
    trained = manifest.inputs["train"]
    caveats = read_caveats(folder, manifest)
    return RunOutcomes(
        name, keys, held_against, _outcomes(base), _outcomes(aligned), judged_by, trained, figures, caveats
    )


def _first_difference(
    one: Mapping[tuple[str, str, str], str | None], other: Mapping[tuple[str, str, str], str | None]
) -> str | None:
    """A prompt of which two runs say different things, in words; None where they agree on all that they share."""
    for benchmark, label, prompt in sorted(one.keys() & other.keys()):
        if one[benchmark, label, prompt] != other[benchmark, label, prompt]:
            return f"prompt {prompt!r} of {benchmark!r}"
    return None


def _outcomes(rows: Sequence[Mapping[str, Any]]) -> Outcomes:
    outcomes: Outcomes = {}
    for row in rows:
        verdict, label = row["verdict"], row["label"]
        counts = None if verdict is None else verdict == _COUNTS[label]
        outcomes.setdefault((row["benchmark"], METRICS[label]), {})[row["prompt_id"]] = counts
    return outcomes
