"""Stage 4, evaluate: base and aligned model on the same prompts and the same held-out pairs."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from bdpo.artifacts.parquet import write_parquet
from bdpo.artifacts.store import write_atomically
from bdpo.config import EvaluateSettings, ModelSettings
from bdpo.errors import UserError
from bdpo.evaluation.benchmarks import Benchmark, load_benchmark
from bdpo.evaluation.contamination import CONTAMINATION, find_contamination
from bdpo.evaluation.cut_off import find_cut_off, say_cut_answers
from bdpo.evaluation.harness import Outcomes, harness_outcomes, shared_outcomes, shown_name
from bdpo.evaluation.judging import make_judge
from bdpo.evaluation.outcomes import Outcome, Role, figures_of, judge_replies, rows_of
from bdpo.evaluation.preference import held_out_pairs, ranked_right
from bdpo.evaluation.published import locate
from bdpo.evaluation.report.build import REPORT, Evidence, write_report
from bdpo.evaluation.respond import Answers, Respondent, Task
from bdpo.evaluation.summary import HELD_OUT, SUMMARY, adjusted, compare, markdown, summary_rows, table
from bdpo.models.allocator import release_memory
from bdpo.models.source import ModelSource, resolve_model
from bdpo.progress import Progress
from bdpo.schemas import Checks


def evaluate(
    *,
    settings: EvaluateSettings,
    model: ModelSettings,
    source: ModelSource,
    pairs: Path,
    scores: Path | None,
    trained: Path,
    cache: Path,
    workdir: Path,
    checks: Checks,
    progress: Progress,
) -> dict[str, Any]:
    """Generate, judge, compare and report.

    Args:
        settings: benchmarks, decoding and intervals.
        model: truncation, dtype and attention.
        source: the base model.
        pairs: the artifact of ingestion.
        scores: the artifact of scoring; without it the base model ranks the held-out pairs here.
        trained: the artifact of training, with the aligned model in `policy`.
        cache: folder of the completions that all runs share.
        workdir: gets `generations`, `judgements`, `eval_summary` and `contamination` as Parquet,
            `summary.md`, and the report with its figures and tables.
        checks: row rules on the figures; their pages go to `data_docs`.
        progress: where to show what happens.

    Returns:
        `table` (the figures for people), `verdict`, counts and the speed of generation; `independent`: how many
        prompts are, at most, of each benchmark whose prompts are not all.
    """
    benchmarks = load_benchmarks(settings)
    judge = make_judge(settings.judge, cache / "judge")  # before any work: it says what the judge lacks
    entries = [(benchmark, prompt) for benchmark in benchmarks for prompt in benchmark.prompts]
    longest = {
        benchmark.name: own.max_new_tokens or settings.max_new_tokens
        for benchmark, own in zip(benchmarks, settings.benchmarks, strict=True)
    }
    tasks = [Task(prompt, longest[benchmark.name]) for benchmark, prompt in entries]
    held_out, held_out_from = held_out_pairs(
        pairs / "pairs.parquet" if scores is None else scores / "scored_pairs.parquet", settings.preference_pairs
    )
    sources: dict[Role, ModelSource] = {"base": source, "aligned": resolve_model(str(trained / "policy"))}
    harness: dict[Role, Outcomes] = {}
    if settings.lm_eval is not None:
        # First, for it is another process, which would not find the memory of a GPU where a model was loaded here.
        harness = {
            role: harness_outcomes(
                settings.lm_eval, own, model, batch_size=settings.batch_size, cache=cache, progress=progress
            )
            for role, own in sources.items()
        }
    answers: dict[Role, Answers] = {}
    for role, own in sources.items():
        answers[role] = Respondent(role, own, model, cache, workdir, progress, settings.engine, source.folder).answer(
            tasks, held_out if role == "aligned" or scores is None else [], batch_size=settings.batch_size
        )
        release_memory()  # vLLM's next engine is another process too
    cut_off = find_cut_off(entries, answers, longest)
    say_cut_answers(cut_off, progress)
    outcomes: dict[Role, list[Outcome]] = {
        role: judge_replies([prompt for _, prompt in entries], given.replies, judge, role, progress)
        for role, given in answers.items()
    }
    generations, judgements = rows_of(entries, answers, outcomes)
    write_parquet(generations, workdir / "generations.parquet")
    write_parquet(judgements, workdir / "judgements.parquet")
    contamination = find_contamination(entries, pairs / "pairs.parquet")
    write_parquet(pa.Table.from_pylist(contamination, CONTAMINATION), workdir / "contamination.parquet")

    figures = figures_of(entries, outcomes, settings.confidence)
    if held_out:
        figures.append(
            compare(
                HELD_OUT,
                "preference_accuracy",
                [
                    ranked_right(p["ref_chosen_logps"], p["ref_rejected_logps"])
                    if scores is not None
                    else ranked_right(*answers["base"].held_out[p["pair_id"]])
                    for p in held_out
                ],
                [ranked_right(*answers["aligned"].held_out[p["pair_id"]]) for p in held_out],
                confidence=settings.confidence,
                limited_from=held_out_from,
            )
        )
    if settings.lm_eval is not None:
        for task, metrics in harness["base"].items():
            shared = shared_outcomes(task, metrics, harness["aligned"][task])
            name = shown_name(task, shared, settings.lm_eval.limit)
            figures.append(
                compare(
                    name, "accuracy", shared.base, shared.aligned, confidence=settings.confidence, limited_from=None
                )
            )
    figures = adjusted(figures)
    summary = pa.Table.from_pylist(summary_rows(figures), SUMMARY)
    failures = checks.evaluation_results(summary.to_pandas())
    checks.write_docs(workdir / "data_docs")
    for failure in failures:
        row = summary.slice(failure.index, 1).to_pylist()[0]
        raise UserError(
            f"evaluate: {row['metric']} of the {row['model']} model on {row['benchmark']} breaks the rule "
            f"{failure.rule}: {failure.reason}."
        )
    write_parquet(summary, workdir / "eval_summary.parquet")
    shown = table(figures)
    write_atomically(workdir / "summary.md", markdown(shown, settings.confidence))
    weights = {role: own.weights_digest for role, own in sources.items()}
    evidence = Evidence(
        entries, answers, outcomes, cut_off, figures, contamination, settings, judge, source.name, weights
    )
    verdict = write_report(evidence, pairs=pairs, scores=scores, trained=trained, workdir=workdir)
    generated = sum(a.generated_tokens for a in answers.values())
    seconds = sum(a.seconds for a in answers.values())
    return {
        "table": shown,
        "verdict": verdict,
        "report": REPORT,
        "prompts": len(entries),
        "independent": {b.name: number for b in benchmarks if (number := b.independent()) < len(b.prompts)},
        "held_out_pairs": len(held_out),
        "generated_tokens": generated,
        "tokens_per_s": round(generated / seconds, 1) if generated else None,
    }


def load_benchmarks(settings: EvaluateSettings) -> list[Benchmark]:
    """Read all benchmarks.

    Raises:
        UserError: one cannot be read, or two have the same name.
    """
    loaded = [
        load_benchmark(
            locate(b),
            name=b.name or b.published,
            format_name=None if b.format == "auto" else b.format,
            limit=b.limit,
        )
        for b in settings.benchmarks
    ]
    for name, count in Counter(benchmark.name for benchmark in loaded).items():
        if count > 1:
            raise UserError(f"evaluate.benchmarks: {count} of them are called {name!r}; give each its own `name`.")
    return loaded
