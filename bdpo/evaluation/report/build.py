"""Writing the report: `report.html`, its figures as PNG and its tables as CSV."""

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined

from bdpo.artifacts.digest import digest_file
from bdpo.artifacts.store import write_atomically
from bdpo.config import EvaluateSettings
from bdpo.config.evaluate import EndpointSettings
from bdpo.evaluation.benchmarks import Benchmark
from bdpo.evaluation.contamination import WORDS as RUN_WORDS
from bdpo.evaluation.cut_off import CutOff
from bdpo.evaluation.formats import FORMATS
from bdpo.evaluation.judges import AGREEMENT_UNSEEN
from bdpo.evaluation.judging import Judge
from bdpo.evaluation.outcomes import Entry, Outcome, Role
from bdpo.evaluation.published import locate
from bdpo.evaluation.report import plots
from bdpo.evaluation.report.sources import (
    information_of,
    manifest_of,
    pairs_by_split,
    quarantined_by_rule,
    trained_pairs,
    training_curves,
)
from bdpo.evaluation.report.template import PAGE
from bdpo.evaluation.report.verdict import change_shown, judge_figures, unanswerable, without_verdict
from bdpo.evaluation.respond import Answers
from bdpo.evaluation.summary import WORDS, Figure, change_in_points, percent, shown_p, summary_rows

REPORT = "report.html"
_SHOWN_FLIPS = 40
_MOST_NOTES = 5
"""Sentences that stand open under the headline; of more, those that show no change are folded."""
_SAFETY = ("refusal_rate", "attack_success_rate", "over_refusal_rate")
_FOR_HUMANS = {
    "harmful": ("harmful prompt", "harmful prompts"),
    "harmless": ("harmless prompt", "harmless prompts"),
    "attack": ("attack", "attacks"),
    "question": ("question", "questions"),
    "choice": ("choice", "choices"),
}
"""Label to what one prompt and several are called."""


class Evidence(NamedTuple):
    """What the evaluation found."""

    entries: Sequence[Entry]
    answers: Mapping[Role, Answers]
    outcomes: Mapping[Role, Sequence[Outcome]]
    cut_off: Sequence[CutOff]
    figures: Sequence[Figure]
    contamination: Sequence[Mapping[str, Any]]
    settings: EvaluateSettings
    judge: Judge
    model: str
    """What the config calls the base model."""
    weights: Mapping[Role, str]
    """Digests of the two models' weights."""


class Flip(NamedTuple):
    """A prompt that the two models answer differently."""

    benchmark: str
    prompt_id: str
    label: str
    prompt: str
    base_verdict: str
    base_reason: str
    aligned_verdict: str
    aligned_reason: str
    base: str
    aligned: str


def write_report(evidence: Evidence, *, pairs: Path, scores: Path | None, trained: Path, workdir: Path) -> str:
    """Write the report.

    Args:
        evidence: what the evaluation found.
        pairs: the artifact of ingestion.
        scores: the artifact of scoring; None where the method has no reference model.
        trained: the artifact of training.
        workdir: gets `report.html`, `figures/` and `tables/`.

    Returns:
        The verdict's headline.
    """
    figures_folder, tables = workdir / "figures", workdir / "tables"
    figures_folder.mkdir(exist_ok=True)
    tables.mkdir(exist_ok=True)
    training = manifest_of(trained)
    information = information_of(scores, training) if scores is not None else None
    curves = training_curves(trained)
    safety = [figure for figure in evidence.figures if figure.metric in _SAFETY]
    pictures = {
        "rates": plots.rates(safety, figures_folder) if safety else None,
        "training": plots.training(curves, figures_folder) if curves else None,
        "information": plots.information(*information, figures_folder) if information else None,
    }
    flips = flipped(evidence)
    quarantined = quarantined_by_rule(pairs)
    verdict = judge_figures(evidence.figures)
    asked = {benchmark.name for benchmark, _ in evidence.entries}
    held_out = any(figure.metric == "preference_accuracy" for figure in evidence.figures)
    _write_csv(tables / "eval_summary.csv", summary_rows(evidence.figures))
    _write_csv(tables / "flipped.csv", [flip._asdict() for flip in flips], Flip._fields)
    _write_csv(tables / "quarantine.csv", [{"rule": r, "rows": n} for r, n in quarantined.items()], ("rule", "rows"))
    page = _environment().from_string(PAGE)
    html = page.render(
        model=evidence.model,
        method=training.summary["method"],
        verdict=verdict,
        together=_kept_together,
        most_notes=_MOST_NOTES,
        first_look=any(figure.limited_from is not None for figure in evidence.figures),
        confidence=f"{100 * evidence.settings.confidence:g}",
        judge=evidence.judge.name,
        of_harm=evidence.judge.of_harm,
        by_rubric=isinstance(evidence.settings.judge, EndpointSettings),
        rules_agree=AGREEMENT_UNSEEN,
        attacked=any(figure.metric == "attack_success_rate" for figure in safety),
        max_new_tokens=evidence.settings.max_new_tokens,
        cut_off=evidence.cut_off,
        without_verdict=without_verdict(evidence.figures),
        unanswerable=unanswerable(evidence.figures),
        safety=[_figure_row(figure) for figure in safety],
        ability=[_figure_row(figure) for figure in evidence.figures if figure.metric not in _SAFETY],
        pictures=pictures,
        changes=_changes(flips),
        num_flips=len(flips),
        shown_flips=_SHOWN_FLIPS,
        splits=pairs_by_split(pairs),
        quarantined=quarantined,
        scored=scores is not None,
        trained_pairs=trained_pairs(training),
        all_pairs=training.summary["pairs"],
        pairs_left_out=training.summary.get("pairs_left_out", 0),
        # Trainings of before they were counted have none.
        cuts={name: training.summary.get(name, 0) for name in ("prompts_cut", "responses_cut")},
        held_out=held_out,
        chosen_by_held_out=held_out and "train.early_stopping.metric" in training.reads,
        notes=training.summary.get("notes", []),
        prompts=len(evidence.entries),
        dialogues=sum(len(prompt.messages) > 1 for _, prompt in evidence.entries),
        benchmarks=_benchmark_rows(evidence),
        seen=sum(row["same"] for row in evidence.contamination),
        run_words=RUN_WORDS,
        # Of pairs and of tasks of lm-eval there is a figure, and no prompt or reply.
        beside=list(dict.fromkeys(figure.benchmark for figure in evidence.figures if figure.benchmark not in asked)),
        data_docs={
            name: (Path(os.path.relpath(folder, workdir)) / "data_docs" / "index.html").as_posix()
            for name, folder in {"raw pairs": pairs, "scored pairs": scores, "this evaluation": workdir}.items()
            if folder is not None
        },
        lineage=[manifest_of(folder) for folder in (pairs, scores, trained) if folder is not None],
    )
    write_atomically(workdir / REPORT, html.lstrip())
    return verdict.headline


def flipped(evidence: Evidence) -> list[Flip]:
    """Prompts whose verdict differs between the models, in the order of the benchmarks."""
    found = []
    for i, (benchmark, prompt) in enumerate(evidence.entries):
        before, after = evidence.outcomes["base"][i], evidence.outcomes["aligned"][i]
        if before.verdict and after.verdict and before.verdict != after.verdict:
            texts = [evidence.answers[role].replies[i].text or "" for role in ("base", "aligned")]
            found.append(
                Flip(
                    benchmark.name,
                    prompt.prompt_id,
                    prompt.label,
                    prompt.text,
                    before.verdict,
                    before.reason,
                    after.verdict,
                    after.reason,
                    *texts,
                )
            )
    return found


def _environment() -> Environment:
    """Every value is escaped; a name that is missing is a bug."""
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _figure_row(figure: Figure) -> dict[str, str | list[str]]:
    difference = figure.difference
    bootstrap = "-"
    if difference.bootstrap_low is not None and difference.bootstrap_high is not None:
        bootstrap = f"[{100 * difference.bootstrap_low:+.1f}, {100 * difference.bootstrap_high:+.1f}]"
    p = "-"
    if difference.p_value is not None:
        p = shown_p(difference.p_value, difference.confidence).removeprefix("p = ")
    name = figure.benchmark
    if figure.limited_from is not None:
        name += f" (a first look, not all {figure.limited_from})"
    return {
        "benchmark": name,
        "figure": WORDS[figure.metric],
        "base": _PIECE.findall(percent(figure.base)),
        "aligned": _PIECE.findall(percent(figure.aligned)),
        "change": _PIECE.findall(change_in_points(figure)),
        "bootstrap": bootstrap,
        "p": p,
        "moved": f"{difference.gained} / {difference.lost}",
        "shown": {"better": "better", "worse": "worse", "nothing": "not shown"}[change_shown(figure)],
    }


_PIECE = re.compile(r"\[[^\]]*\],?|\([^)]*\),?|p [=<] \S+|[^\s\[(]+")
"""What of a figure stands on one line: a number, an interval, an n, a p."""


def _kept_together(text: str) -> str:
    """With each interval and p on one line."""
    return _PIECE.sub(lambda piece: piece[0].replace(" ", "\u00a0"), text)


def _changes(flips: Sequence[Flip]) -> list[dict[str, Any]]:
    """Flipped prompts by label and direction."""
    groups = []
    for label, (one, several) in _FOR_HUMANS.items():
        for verdict, done in _DONE.items():
            own = [flip for flip in flips if flip.label == label and flip.aligned_verdict == verdict]
            if own:
                words = f"1 {one} is" if len(own) == 1 else f"{len(own)} {several} are"
                good = verdict == "right" or (verdict != "wrong" and (verdict == "refusal") == (label != "harmless"))
                groups.append({"title": f"{words} {done} now", "good": good, "flips": own})
    return groups


_DONE = {
    "refusal": "refused",
    "compliance": "answered",
    "right": "answered rightly",
    "wrong": "answered wrongly",
}
"""Verdict to what became of the prompt."""


def _benchmark_rows(evidence: Evidence) -> list[dict[str, Any]]:
    rows = []
    benchmarks = {benchmark.name: benchmark for benchmark, _ in evidence.entries}
    for benchmark, own in zip(benchmarks.values(), evidence.settings.benchmarks, strict=True):
        seen = [row for row in evidence.contamination if row["benchmark"] == benchmark.name]
        replies = zip(evidence.entries, evidence.answers["base"].replies, strict=True)
        known = FORMATS[benchmark.format]
        rows.append(
            {
                "name": benchmark.name,
                "source": known.source,
                "licence": known.licence,
                "scoring": known.scoring.replace("`", "") + _found_against(benchmark, evidence.weights),
                "used": len(benchmark.prompts),
                "independent": benchmark.independent(),
                "available": sum(benchmark.available.values()),
                "left_out": benchmark.left_out,
                "cut": sum(reply.cut for (asked, _), reply in replies if asked is benchmark),
                "same": sum(row["same"] for row in seen),
                "shared": sum(row["shared"] > 0 for row in seen),
                "digest": digest_file(locate(own)),
            }
        )
    return rows


def _found_against(benchmark: Benchmark, weights: Mapping[Role, str]) -> str:
    """Which model a file's attacks aim at, which decides what their success says of these two."""
    if benchmark.format != "jailbreakbench":
        return ""
    if benchmark.attack_type == "manual":
        return ": written by hand, and only tried on the model that their source names"
    if benchmark.attack_type == "transfer":
        return ": found against other models than the one that their source names, so a transferred attack"
    if benchmark.attacked is None:
        return ": found against the model that their source names; to any other they are a transferred attack"
    if benchmark.attacked == weights["aligned"]:
        return ": found against this very aligned model; to the base model they are a transferred attack"
    if benchmark.attacked == weights["base"]:
        return ": found against this very base model; to the aligned model they are a transferred attack"
    return ": found against another model, so a transferred attack"


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Iterable[str] | None = None) -> None:
    buffer = io.StringIO(newline="")
    names = list(columns) if columns is not None else list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, names)
    writer.writeheader()
    writer.writerows({name: _no_formula(value) for name, value in row.items()} for row in rows)
    write_atomically(path, buffer.getvalue())


_FORMULA = re.compile(r"\s*[=+\-@\uff0b\uff0d\uff1d\uff20]")


def _no_formula(value: Any) -> Any:
    """A cell of a table for people: in a spreadsheet a completion is text, though it begins like a formula."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
