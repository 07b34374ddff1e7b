"""Completions by vLLM, which is optional: `pip install vllm` on a machine with a GPU.

The one module that imports vllm.  Tried with its build for CPUs alone: no GPU was at hand.
Greedy decoding there need not give the tokens that transformers gives, so completions are kept apart by engine.
"""

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from bdpo.errors import UserError
from bdpo.evaluation.generation import Completion
from bdpo.lifetime import no_orphans
from bdpo.packages import importing

_SHOWN = 300
"""Characters of why vLLM does not start."""


def vllm_completions(
    folder: Path,
    prompts: Mapping[str, tuple[int, ...]],
    *,
    dtype: str,
    ends: Sequence[int],
    max_new_tokens: int,
    batch_size: int,
    trust_remote_code: bool = False,
) -> Iterator[dict[str, Completion]]:
    """Greedy completions, a batch at a time.

    Args:
        folder: of the model.
        prompts: key to token ids.
        dtype: of its arithmetic.
        ends: tokens that end a completion.
        max_new_tokens: longest completion.
        batch_size: prompts handed over and saved together; vLLM schedules them itself, so hundreds are right.
        trust_remote_code: run Python code that comes with the model.

    Raises:
        UserError: vllm is not installed, or does not start.
    """
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # it would report each start to its makers
    with importing("evaluate.engine", "vllm"):
        from vllm import LLM, SamplingParams
    settings: dict[str, Any] = {
        "dtype": dtype,
        "max_model_len": max(map(len, prompts.values())) + max_new_tokens,
        "seed": 0,
        "generation_config": "vllm",
        "trust_remote_code": trust_remote_code,
        # What `transformers` reads: vLLM prefers Mistral's own files where they lie beside those.
        "config_format": "hf",
        "load_format": "safetensors",
        "tokenizer_mode": "hf",
    }
    # `ends` are all that ends a completion; the tokenizer's own end would too.
    sampling = SamplingParams(temperature=0.0, max_tokens=max_new_tokens, stop_token_ids=list(ends), ignore_eos=True)
    order = sorted(prompts, key=lambda key: (-len(prompts[key]), key))
    with no_orphans():  # its processes would outlive this one if that is killed, and keep the GPU's memory
        engine = _start(LLM, folder, settings)
        try:
            for start in range(0, len(order), batch_size):
                keys = order[start : start + batch_size]
                asked = [{"prompt_token_ids": list(prompts[key])} for key in keys]
                outputs = engine.generate(asked, sampling, use_tqdm=False)
                yield {
                    key: Completion(output.outputs[0].text.strip(), len(output.outputs[0].token_ids))
                    for key, output in zip(keys, outputs, strict=True)
                }
        finally:
            # Its processes end with it, and give back nearly all of a GPU's memory, which the next model wants.
            del engine
            gc.collect()


def _start(engine: Callable[..., Any], folder: Path, settings: Mapping[str, Any]) -> Any:
    try:
        return engine(model=str(folder), **settings)
    except (RuntimeError, ValueError) as error:
        # Of a process that ended it says no more than that; of a setting what is wrong, on a line after the first.
        raise UserError(
            f"evaluate.engine: vLLM does not start with the model in {folder}: {shorten(str(error), _SHOWN)}; what it "
            "wrote above may say more. It wants nine tenths of one GPU's memory for itself: free it, or set "
            "evaluate.engine=transformers."
        ) from error
