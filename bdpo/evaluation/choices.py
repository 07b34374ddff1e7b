"""Choosing among given answers by their log-probs, kept a piece at a time."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bdpo.artifacts.digest import digest_value
from bdpo.artifacts.kept import kept_table
from bdpo.evaluation.formats import Prompt
from bdpo.layout.chat import Untokenizable, tokenize_pair
from bdpo.layout.rows import Layout, Row
from bdpo.logprobs.score import NonFinite, score_rows

_SCHEMA = pa.schema([("logps", pa.list_(pa.float64()))])
_TOKEN_BUDGET = 4096
_PIECE = 64


def option_logps(
    load: Callable[[], tuple[PreTrainedModel, Layout]],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    folder: Path,
    *,
    max_length: int,
    max_prompt_length: int,
    advance: Callable[[int], None],
) -> list[list[float] | None]:
    """Summed log-probs of every option of every prompt.

    Args:
        load: gives the model, in eval mode, and the layout that was proved for it; called for what is not kept.
        tokenizer: its tokenizer.
        prompts: of label `choice`.
        folder: where pieces are kept, of this model and these settings alone.
        max_length: longest prompt plus option.
        max_prompt_length: longest prompt.
        advance: called with the number of prompts that were done.

    Returns:
        One list a prompt, in nats, end of turn included; None where the chat template refuses the prompt, or
        an option is cut to the same tokens as the first.

    Raises:
        UserError: the model gives a log-prob that is none; the prompt is named.
    """
    result: list[list[float] | None] = []
    for start in range(0, len(prompts), _PIECE):
        piece = prompts[start : start + _PIECE]
        name = digest_value([[p.text, list(p.options)] for p in piece])
        make = partial(_table, load, tokenizer, piece, max_length, max_prompt_length)
        result.extend(kept_table(folder, name, make)["logps"].to_pylist())
        advance(len(piece))
    return result


def likeliest(prompt: Prompt, logps: Sequence[float]) -> str:
    """The option with the highest log-prob; the first of equal ones."""
    return prompt.options[max(range(len(logps)), key=lambda i: (logps[i], -i))]


def _table(
    load: Callable[[], tuple[PreTrainedModel, Layout]],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_length: int,
    max_prompt_length: int,
) -> pa.Table:
    logps = _score(*load(), tokenizer, prompts, max_length, max_prompt_length)
    return pa.Table.from_pylist([{"logps": values} for values in logps], _SCHEMA)


def _score(
    model: PreTrainedModel,
    layout: Layout,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_length: int,
    max_prompt_length: int,
) -> list[list[float] | None]:
    rows: list[Row] = []
    places: list[int] = []
    lengths: dict[str, Any] = {"max_length": max_length, "max_prompt_length": max_prompt_length}
    for place, prompt in enumerate(prompts):
        message = [{"role": "user", "content": prompt.text}]
        first = prompt.options[0]
        try:
            pairs = [tokenize_pair(tokenizer, message, first, other, **lengths) for other in prompt.options[1:]]
        except Untokenizable:
            continue
        rows.append(Row(pairs[0].prompt_ids, (pairs[0].chosen_ids, *(pair.rejected_ids for pair in pairs))))
        places.append(place)
    result: list[list[float] | None] = [None] * len(prompts)
    try:
        for scored in score_rows(model, rows, token_budget=_TOKEN_BUDGET, layout=layout):
            for index, logps in zip(scored.indices, scored.logps, strict=True):
                result[places[index]] = [float(values.sum(dtype="float64")) for values in logps]
    except NonFinite as problem:
        raise problem.explained("evaluate", f"the prompt {prompts[places[problem.index]].prompt_id}") from problem
    return result
