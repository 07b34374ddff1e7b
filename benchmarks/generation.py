"""Tokens a second, in batches and one prompt at a time, with the same model in the same process.

    python -m benchmarks.generation [--json] [--model embedded] [--dtype float32] [--prompts 32] [--batch-size 32]

Both sides are greedy, have a KV cache and generate through the code that stage 4 uses; the one-at-a-time side
runs a part of the same prompts.  The harmless prompts of the demo are asked.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bdpo.evaluation.benchmarks import load_benchmark
from bdpo.evaluation.generation import Completion, chat_end_ids, generate_missing
from bdpo.layout.chat import tokenize_prompt
from bdpo.models.loading import load_model, load_tokenizer
from bdpo.models.source import resolve_model

_PROMPTS = Path(__file__).resolve().parents[1] / "configs" / "demo_data" / "prompts.jsonl"


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[tuple[int, ...]],
    *,
    ends: Sequence[int],
    batch_size: int,
    max_new_tokens: int,
) -> tuple[float, list[str]]:
    """Generated tokens a second over all prompts, and the completions in the order of the prompts."""
    keyed = {f"{i:06d}": prompt for i, prompt in enumerate(prompts)}
    completions: dict[str, Completion] = {}
    started = time.perf_counter()
    for batch in generate_missing(
        model, tokenizer, keyed, ends=ends, max_new_tokens=max_new_tokens, batch_size=batch_size
    ):
        completions |= batch
    seconds = time.perf_counter() - started
    return sum(c.n_tokens for c in completions.values()) / seconds, [completions[key].text for key in sorted(keyed)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--one-at-a-time", type=int, default=8, help="prompts of the slow side")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    given = parser.parse_args()
    source = resolve_model(given.model)
    model, tokenizer = load_model(source.folder, dtype=given.dtype), load_tokenizer(source.folder)
    texts = [p.text for p in load_benchmark(_PROMPTS).prompts if p.label == "harmless"][: given.prompts]
    ids = [tokenize_prompt(tokenizer, [{"role": "user", "content": t}])[-256:] for t in texts]
    few = ids[:: max(len(ids) // given.one_at_a_time, 1)][: given.one_at_a_time]
    ends, longest = chat_end_ids(source.folder, tokenizer), given.max_new_tokens
    measure(model, tokenizer, few[:1], ends=ends, batch_size=1, max_new_tokens=4)  # warm-up
    single, slow = measure(model, tokenizer, few, ends=ends, batch_size=1, max_new_tokens=longest)
    batched, fast = measure(model, tokenizer, ids, ends=ends, batch_size=given.batch_size, max_new_tokens=longest)
    by_prompt = dict(zip(ids, fast, strict=True))
    result = {
        "model": given.model,
        "dtype": given.dtype,
        "prompts": len(ids),
        "batch_size": given.batch_size,
        "tokens_per_s_one_at_a_time": round(single, 1),
        "tokens_per_s_batched": round(batched, 1),
        "speedup": round(batched / single, 2),
        "equal_completions": sum(text == by_prompt[prompt] for prompt, text in zip(few, slow, strict=True)),
        "compared_completions": len(few),
    }
    if given.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        sys.stdout.write("".join(f"{name:<28} {value}\n" for name, value in result.items()))


if __name__ == "__main__":
    main()
