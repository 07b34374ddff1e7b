"""Choosing among given answers by their log-probs, kept a piece at a time."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bdpo.artifacts.digest import digest_value
from bdpo.artifacts.kept import kept_table
from bdpo.evaluation.formats import Prompt
from bdpo.layout.chat import cut_prompt, tokenize_responses
from bdpo.layout.rendering import Untokenizable
from bdpo.layout.rows import Layout, Row
from bdpo.logprobs.score import NonFinite, score_rows

_SCHEMA = pa.schema([("logps", pa.list_(pa.float64())), ("cut", pa.bool_()), ("problem", pa.string())])
_TOKEN_BUDGET = 4096
_PIECE = 64


class Weighed(NamedTuple):
    """What a model thinks of the options of one prompt."""

    logps: list[float] | None
    """Summed log-prob of each, in nats, end of turn included; None where there are none."""
    cut: bool
    """Whether the prompt is longer than `max_prompt_length`, and its beginning was left out."""
    problem: str | None
    """Why there are none."""


def option_logps(
    load: Callable[[], tuple[PreTrainedModel, Layout]],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    folder: Path,
    *,
    max_length: int,
    max_prompt_length: int,
    advance: Callable[[int], None],
) -> list[Weighed]:
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
        One a prompt; without log-probs where the chat template refuses the prompt, or two options are the
        same after truncation, which would make the model's choice a matter of their order.

    Raises:
        UserError: the model gives a log-prob that is none; the prompt is named.
    """
    result: list[Weighed] = []
    for start in range(0, len(prompts), _PIECE):
        piece = prompts[start : start + _PIECE]
        name = digest_value([[p.messages, list(p.options)] for p in piece])
        make = partial(_table, load, tokenizer, piece, max_length, max_prompt_length)
        result.extend(Weighed(**row) for row in kept_table(folder, name, make).to_pylist())
        advance(len(piece))
    return result


def likeliest(prompt: Prompt, logps: Sequence[float]) -> str:
    """The option with the highest log-prob; of equal ones a wrong one, for the right one is not the likeliest."""
    return prompt.options[max(range(len(logps)), key=lambda i: (logps[i], prompt.options[i] != prompt.answer, -i))]


def _table(
    load: Callable[[], tuple[PreTrainedModel, Layout]],
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_length: int,
    max_prompt_length: int,
) -> pa.Table:
    weighed = _score(*load(), tokenizer, prompts, max_length, max_prompt_length)
    return pa.Table.from_pylist([own._asdict() for own in weighed], _SCHEMA)


def _score(
    model: PreTrainedModel,
    layout: Layout,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    max_length: int,
    max_prompt_length: int,
) -> list[Weighed]:
    rows: list[Row] = []
    places: list[int] = []
    result: list[Weighed] = []
    lengths: dict[str, Any] = {"max_length": max_length, "max_prompt_length": max_prompt_length}
    for place, prompt in enumerate(prompts):
        try:
            ids, options = tokenize_responses(tokenizer, prompt.messages, prompt.options, **lengths)
        except Untokenizable as problem:
            result.append(Weighed(None, False, problem.reason))
            continue
        cut = len(ids) > max_prompt_length
        if len(set(options)) < len(options):
            result.append(Weighed(None, cut, "two options have the same tokens, after truncation"))
            continue
        result.append(Weighed(None, cut, None))
        rows.append(Row(cut_prompt(ids, max_prompt_length, tokenizer.bos_token_id), tuple(options)))
        places.append(place)
    try:
        for scored in score_rows(model, rows, token_budget=_TOKEN_BUDGET, layout=layout):
            for index, logps in zip(scored.indices, scored.logps, strict=True):
                place = places[index]
                result[place] = result[place]._replace(logps=[float(own.sum(dtype="float64")) for own in logps])
    except NonFinite as problem:
        raise problem.explained("evaluate", f"the prompt {prompts[places[problem.index]].prompt_id}") from problem
    return result
