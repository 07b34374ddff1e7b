"""Stage 4, evaluate: base and aligned model on the same prompts and the same held-out pairs."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from bdpo.artifacts.parquet import write_parquet
from bdpo.artifacts.store import SCRATCH, note_progress, write_atomically
from bdpo.config import EvaluateSettings, ModelSettings
from bdpo.evaluation.benchmarks import Benchmark, Label, Prompt, load_benchmark
from bdpo.evaluation.generation import Completion, CompletionStore, Decoding, completion_key, generate_missing
from bdpo.evaluation.judges import judge_refusal
from bdpo.evaluation.preference import held_out_pairs, ranked_right, score_held_out
from bdpo.evaluation.summary import SUMMARY, Figure, compare, markdown, summary_rows, table
from bdpo.layout.chat import tokenize_prompt
from bdpo.logprobs.proof import choose_layout
from bdpo.models.loading import load_model, load_tokenizer
from bdpo.models.source import ModelSource, resolve_model
from bdpo.progress import Progress

Role = Literal["base", "aligned"]

_GENERATIONS = pa.schema(
    [
        ("benchmark", pa.string()),
        ("prompt_id", pa.string()),
        ("prompt", pa.string()),
        ("label", pa.string()),
        ("category", pa.string()),
        ("model", pa.string()),
        ("completion", pa.string()),
        ("n_tokens", pa.int32()),
        ("key", pa.string()),
    ]
)
_JUDGEMENTS = pa.schema(
    [
        ("benchmark", pa.string()),
        ("prompt_id", pa.string()),
        ("label", pa.string()),
        ("model", pa.string()),
        ("judge", pa.string()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("key", pa.string()),
    ]
)
_METRICS: Mapping[Label, str] = {"harmful": "refusal_rate", "harmless": "over_refusal_rate"}


class _Answers(NamedTuple):
    """What one model did."""

    keys: list[str]
    """Completion keys, one a prompt of all benchmarks in order."""
    completions: Mapping[str, Completion]
    held_out: Mapping[str, tuple[float, float]]
    generated_tokens: int
    seconds: float


def evaluate(
    *,
    settings: EvaluateSettings,
    model: ModelSettings,
    source: ModelSource,
    policy: Path,
    scores: Path,
    cache: Path,
    workdir: Path,
    progress: Progress,
) -> dict[str, Any]:
    """Generate, judge and compare.

    Args:
        settings: benchmarks, decoding and intervals.
        model: truncation, dtype and attention.
        source: the base model.
        policy: the aligned model's folder.
        scores: folder with `scored_pairs.parquet`.
        cache: folder of the completions that all runs share.
        workdir: gets `generations`, `judgements` and `eval_summary` as Parquet, and `summary.md`.
        progress: where to show what happens.

    Returns:
        `table` (the figures for people), counts and the speed of generation.
    """
    benchmarks = [
        load_benchmark(b.path, name=b.name, format_name=None if b.format == "auto" else b.format, limit=b.limit)
        for b in settings.benchmarks
    ]
    prompts = [(benchmark, prompt) for benchmark in benchmarks for prompt in benchmark.prompts]
    pairs = held_out_pairs(scores / "scored_pairs.parquet", settings.preference_pairs)
    answers: dict[Role, _Answers] = {}
    sources: dict[Role, ModelSource] = {"base": source, "aligned": resolve_model(str(policy))}
    for role, own in sources.items():
        answers[role] = _answer(role, own, prompts, pairs, settings, model, cache, workdir, progress)

    refused = _write_rows(prompts, answers, settings.judge, workdir)
    figures = _figures(benchmarks, prompts, refused, settings.confidence)
    if pairs:
        base = [ranked_right(p["ref_chosen_logps"], p["ref_rejected_logps"]) for p in pairs]
        aligned = [ranked_right(*answers["aligned"].held_out[p["pair_id"]]) for p in pairs]
        figures.append(
            compare(
                "validation pairs",
                "preference_accuracy",
                base,
                aligned,
                confidence=settings.confidence,
                limited_from=None,
            )
        )
    write_parquet(pa.Table.from_pylist(summary_rows(figures), SUMMARY), workdir / "eval_summary.parquet")
    shown = table(figures)
    write_atomically(workdir / "summary.md", markdown(shown, settings.confidence))
    generated = sum(a.generated_tokens for a in answers.values())
    seconds = sum(a.seconds for a in answers.values())
    return {
        "table": shown,
        "prompts": len(prompts),
        "held_out_pairs": len(pairs),
        "generated_tokens": generated,
        "tokens_per_s": round(generated / seconds, 1) if generated else None,
    }


def _answer(
    role: Role,
    own: ModelSource,
    prompts: list[tuple[Benchmark, Prompt]],
    pairs: list[dict[str, Any]],
    settings: EvaluateSettings,
    model: ModelSettings,
    cache: Path,
    workdir: Path,
    progress: Progress,
) -> _Answers:
    """Completions of all prompts by one model; of the aligned model also the held-out pairs."""
    tokenizer = load_tokenizer(own.folder, trust_remote_code=model.trust_remote_code)
    decoding = Decoding(
        own.weights_digest, own.tokenizer_digest, model.dtype, model.attention, settings.max_new_tokens
    ).digest
    store = CompletionStore(cache / decoding)
    if damaged := store.sweep():
        progress.say(f"evaluate: {damaged} damaged or unfinished batches deleted, to be generated again")
    keys, ids = [], {}
    for _, prompt in prompts:
        message = {"role": "user", "content": prompt.text}
        tokens = tokenize_prompt(tokenizer, [message], max_prompt_length=model.max_prompt_length)
        keys.append(completion_key(tokens, decoding))
        ids[keys[-1]] = tokens
    done = store.read()
    missing = {key: tokens for key, tokens in ids.items() if key not in done}
    rank_pairs = pairs if role == "aligned" else []
    held_out: Mapping[str, tuple[float, float]] = {}
    num_tokens, seconds = 0, 0.0
    if missing or rank_pairs:
        loaded = load_model(
            own.folder, dtype=model.dtype, attention=model.attention, trust_remote_code=model.trust_remote_code
        )
        progress.begin(f"evaluate: {role} model", len(ids), "completions", done=len(ids) - len(missing))
        started = time.monotonic()
        batches = generate_missing(
            loaded, tokenizer, missing, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size
        )
        for batch in batches:
            store.write(batch)
            done |= batch
            num_tokens += sum(completion.n_tokens for completion in batch.values())
            seconds = time.monotonic() - started
            progress.advance(len(batch), tokens_per_s=num_tokens / seconds)
            note_progress(workdir, sum(key in done for key in ids), len(ids), f"completions of the {role} model")
        if rank_pairs:
            progress.begin("evaluate: held-out pairs", len(rank_pairs), "pairs")
            held_out = score_held_out(
                loaded,
                choose_layout(loaded, progress.say, max_length=model.max_length),
                tokenizer,
                rank_pairs,
                workdir / SCRATCH / "held_out",
                max_length=model.max_length,
                max_prompt_length=model.max_prompt_length,
                advance=progress.advance,
            )
    return _Answers(keys, done, held_out, num_tokens, seconds)


def _write_rows(
    prompts: list[tuple[Benchmark, Prompt]], answers: Mapping[Role, _Answers], judge: str, workdir: Path
) -> dict[Role, list[bool]]:
    """Write completions and verdicts; for each model, which prompts it refused."""
    generations, judgements = [], []
    refused: dict[Role, list[bool]] = {}
    for role, given in answers.items():
        refused[role] = []
        for (benchmark, prompt), key in zip(prompts, given.keys, strict=True):
            completion = given.completions[key]
            judgement = judge_refusal(completion.text)
            refused[role].append(judgement.verdict == "refusal")
            common: dict[str, Any] = {
                "benchmark": benchmark.name,
                "prompt_id": prompt.prompt_id,
                "label": prompt.label,
                "model": role,
                "key": key,
            }
            generations.append(
                common
                | {
                    "prompt": prompt.text,
                    "category": prompt.category,
                    "completion": completion.text,
                    "n_tokens": completion.n_tokens,
                }
            )
            judgements.append(common | {"judge": judge} | judgement._asdict())
    write_parquet(pa.Table.from_pylist(generations, _GENERATIONS), workdir / "generations.parquet")
    write_parquet(pa.Table.from_pylist(judgements, _JUDGEMENTS), workdir / "judgements.parquet")
    return refused


def _figures(
    benchmarks: list[Benchmark],
    prompts: list[tuple[Benchmark, Prompt]],
    refused: Mapping[Role, list[bool]],
    confidence: float,
) -> list[Figure]:
    figures = []
    for benchmark in benchmarks:
        for label, metric in _METRICS.items():
            places = [i for i, (own, p) in enumerate(prompts) if own is benchmark and p.label == label]
            if places:
                verdicts = {role: [given[i] for i in places] for role, given in refused.items()}
                figures.append(
                    compare(
                        benchmark.name,
                        metric,
                        verdicts["base"],
                        verdicts["aligned"],
                        confidence=confidence,
                        limited_from=benchmark.limited_from(label),
                    )
                )
    return figures
