"""Chat messages to token ids, exactly as the model sees them in chat.

The template is rendered to text and the whole text is tokenised in one piece:
a prompt and a response tokenised apart would meet at a boundary that no chat
ever shows the model.  The template writes every special token itself, BOS
included, so the tokenizer adds none.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import islice
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from bdpo.errors import UserError
from bdpo.layout.rendering import PROBE, Message, Untokenizable, encode, find_thoughts, render, why_not_prefix
from bdpo.layout.spelled import find_spelled

_PAIRS_AT_A_TIME = 256
_Text = tuple[Sequence[Message], str, str]
"""Prompt, chosen and rejected."""


class _Whole(NamedTuple):
    """A conversation with one response."""

    side: str
    """What the response is called."""
    content: str
    """Of the response."""
    ids: tuple[int, ...]
    """Of all."""


class TokenizedPair(NamedTuple):
    """Token ids of a pair; both responses follow the same (cut) prompt."""

    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    prompt_is_cut: bool = False
    """Whether the prompt has lost its beginning."""
    cut_responses: int = 0
    """How many of the two responses have lost their end."""


def tokenize_pair(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[Message],
    chosen: str,
    rejected: str,
    *,
    max_length: int,
    max_prompt_length: int,
) -> TokenizedPair:
    """Tokenise a pair by its chat template.

    A response is what the template adds to the prompt, up to and including its end-of-turn token.

    Args:
        tokenizer: has a chat template.
        prompt: the messages before the response.
        chosen: content of the better response.
        rejected: content of the worse response.
        max_length: longest prompt plus response, in tokens; a response is cut from its end, and then
            has no end-of-turn token.
        max_prompt_length: longest prompt, in tokens; a prompt is cut from its start (`cut_prompt`).

    Raises:
        Untokenizable: the prompt's tokens are not a prefix of prompt plus response
            (`prompt_not_prefix`), a response has no token before its end-of-turn (`empty_response`),
            both responses have the same tokens (`identical_tokens`), a response has thoughts and the model
            could have them too (`thoughts`), a text spells out a special token (`special_token`), or the
            template raises an error for these messages (`template_refuses`).
    """
    (pair,) = tokenize_pairs(
        tokenizer, [(prompt, chosen, rejected)], max_length=max_length, max_prompt_length=max_prompt_length
    )
    if isinstance(pair, Untokenizable):
        raise pair
    return pair


def tokenize_pairs(
    tokenizer: PreTrainedTokenizerBase,
    pairs: Iterable[_Text],
    *,
    max_length: int,
    max_prompt_length: int,
) -> Iterator[TokenizedPair | Untokenizable]:
    """Tokenise many pairs as `tokenize_pair` does each, several at a time: on all cores, with a fast tokenizer.

    Args:
        tokenizer: has a chat template.
        pairs: prompt, chosen and rejected.
        max_length: longest prompt plus response, in tokens.
        max_prompt_length: longest prompt, in tokens.

    Yields:
        The pairs in their order; one that cannot be laid out is the error that says so.
    """
    for batch in _batched(pairs, _PAIRS_AT_A_TIME):
        texts = [_render_pair(tokenizer, *pair) for pair in batch]
        encoded = iter(encode(tokenizer, *(text for triple in texts if isinstance(triple, tuple) for text in triple)))
        for pair, triple in zip(batch, texts, strict=True):
            if isinstance(triple, Untokenizable):
                yield triple
                continue
            prompt, chosen, rejected = next(encoded), next(encoded), next(encoded)
            try:
                yield _cut(tokenizer, pair, prompt, chosen, rejected, max_length, max_prompt_length)
            except Untokenizable as problem:
                yield problem


def _render_pair(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], chosen: str, rejected: str
) -> tuple[str, str, str] | Untokenizable:
    if problem := find_spelled(tokenizer, prompt, chosen, rejected):
        return problem
    try:
        before, first, second = _render_responses(tokenizer, prompt, (chosen, rejected))
        return before, first, second
    except Untokenizable as problem:
        return problem


def _render_responses(
    tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], responses: Sequence[str]
) -> list[str]:
    """The prompt up to an answer, and the whole conversation with each response."""
    if problem := find_thoughts(tokenizer, *responses):
        raise problem
    whole = [[*prompt, {"role": "assistant", "content": response}] for response in responses]
    return [*render(tokenizer, [prompt], generate=True), *render(tokenizer, whole)]


def _cut(
    tokenizer: PreTrainedTokenizerBase,
    pair: _Text,
    prompt: tuple[int, ...],
    chosen: tuple[int, ...],
    rejected: tuple[int, ...],
    max_length: int,
    max_prompt_length: int,
) -> TokenizedPair:
    messages, *contents = pair
    whole = [_Whole("chosen", contents[0], chosen), _Whole("rejected", contents[1], rejected)]
    chosen_ids, rejected_ids = _cut_responses(tokenizer, messages, prompt, whole, max_length, max_prompt_length)
    require_different(chosen_ids, rejected_ids)
    end = end_of_turn(tokenizer, str(tokenizer.chat_template))
    cut = [_lacks_end(ids, full[len(prompt) :], end) for ids, full in ((chosen_ids, chosen), (rejected_ids, rejected))]
    kept = cut_prompt(prompt, max_prompt_length, tokenizer.bos_token_id)
    return TokenizedPair(kept, chosen_ids, rejected_ids, len(prompt) > max_prompt_length, sum(cut))


def cut_prompt(prompt: tuple[int, ...], longest: int, bos: int | None) -> tuple[int, ...]:
    """The last `longest` tokens of a prompt, the first of them `bos` where that begins the prompt and nothing else.

    Some models (Gemma) say nothing sensible after a text without it.  Of others (SmolLM2) it begins every turn.
    """
    if len(prompt) <= longest:
        return prompt
    kept = prompt[: min(longest, 1)] if prompt[0] == bos and prompt.count(bos) == 1 else ()
    return kept + prompt[len(prompt) - longest + len(kept) :]


def _lacks_end(response: tuple[int, ...], whole: tuple[int, ...], end: int | None) -> bool:
    """Whether of `whole`, a response and what the template writes behind its end, `response` has less than that."""
    rest = whole[len(response) :]
    return end in rest if end in whole else bool(rest)


def _cut_responses(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    prompt: tuple[int, ...],
    whole: Sequence[_Whole],
    max_length: int,
    max_prompt_length: int,
) -> list[tuple[int, ...]]:
    """What each conversation adds to the prompt, in the room that is left."""
    room = max_length - min(len(prompt), max_prompt_length)
    end = end_of_turn(tokenizer, str(tokenizer.chat_template))
    return [
        response_ids(full, prompt, end, room, side, partial(why_not_prefix, tokenizer, messages, content))
        for side, content, full in whole
    ]


def _batched(pairs: Iterable[_Text], size: int) -> Iterator[list[_Text]]:
    rest = iter(pairs)
    while batch := list(islice(rest, size)):
        yield batch


def tokenize_responses(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Sequence[Message],
    responses: Sequence[str],
    *,
    max_length: int,
    max_prompt_length: int,
) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
    """Tokenise any number of responses to one prompt, each as `tokenize_pair` does; they may be the same.

    Returns:
        The whole prompt, and the responses as they follow it where it is cut to `max_prompt_length` tokens.

    Raises:
        Untokenizable: as `tokenize_pair`, but for `identical_tokens` and `special_token`.
    """
    ids, *found = encode(tokenizer, *_render_responses(tokenizer, prompt, responses))
    numbered = enumerate(zip(responses, found, strict=True), start=1)
    whole = [_Whole(f"{number}.", content, full) for number, (content, full) in numbered]
    return ids, _cut_responses(tokenizer, prompt, ids, whole, max_length, max_prompt_length)


def tokenize_prompt(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message]) -> tuple[int, ...]:
    """Tokenise a prompt for generation: what `tokenize_pair` puts before a response, uncut.

    Raises:
        Untokenizable: the template raises an error for these messages.
    """
    (ids,) = encode(tokenizer, *render(tokenizer, [prompt], generate=True))
    return ids


def null_prompt(tokenizer: PreTrainedTokenizerBase, *, max_prompt_length: int) -> tuple[int, ...]:
    """The empty query of METHOD.md: the template's scaffolding around one empty user message.

    Raises:
        UserError: the template refuses such a message.
    """
    with _template_at_fault(tokenizer, "an empty user message, which stands for no prompt in mutual information"):
        empty = tokenize_prompt(tokenizer, [{"role": "user", "content": ""}])
    return cut_prompt(empty, max_prompt_length, tokenizer.bos_token_id)


def response_ids(
    full: tuple[int, ...], prompt: tuple[int, ...], end: int | None, room: int, side: str, why: Callable[[], str]
) -> tuple[int, ...]:
    """The tokens of a response: what `full` adds to `prompt`, to the end of its turn, in `room` tokens.

    Raises:
        Untokenizable: as `tokenize_pair` does; `side` says of which response, `why` why `full` begins otherwise.
    """
    if full[: len(prompt)] != prompt:
        raise Untokenizable(
            "prompt_not_prefix",
            f"the prompt's tokens are not a prefix of the tokens of prompt and {side} response: {why()}",
        )
    response = full[len(prompt) :]
    if end is not None and end in response:
        # The last one is the template's; the content may spell earlier ones out.
        response = response[: len(response) - response[::-1].index(end)]
    response = response[: max(room, 0)]
    if not response or response == (end,):
        raise Untokenizable("empty_response", f"the {side} response has no token of its own, after truncation")
    return response


def require_different(chosen: tuple[int, ...], rejected: tuple[int, ...]) -> None:
    """Refuse a pair that says nothing: to the model its two responses are one.

    Raises:
        Untokenizable: the tokens are the same (`identical_tokens`).
    """
    if chosen == rejected:
        raise Untokenizable("identical_tokens", "the two responses have the same tokens, after truncation")


@lru_cache(maxsize=16)
def end_of_turn(tokenizer: PreTrainedTokenizerBase, template: str) -> int | None:
    """The first special token that the template writes after a response: where generation stops.

    What follows it (SmolLM's newline, Phi-3's end-of-text) is never generated.  None where a template
    ends a turn without a special token; everything that it writes then belongs to the response.

    Raises:
        UserError: the template refuses a question and its answer.
    """
    conversation = [{"role": "user", "content": "?"}, {"role": "assistant", "content": PROBE}]
    with _template_at_fault(tokenizer, "a user message and an answer to it"):
        _, _, suffix = render(tokenizer, [conversation])[0].rpartition(PROBE)
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    special.update(tokenizer.all_special_ids)
    (ids,) = encode(tokenizer, suffix)
    return next((token for token in ids if token in special), None)


@contextmanager
def _template_at_fault(tokenizer: PreTrainedTokenizerBase, what: str) -> Iterator[None]:
    """Where it refuses `what`, no row is to blame."""
    try:
        yield
    except Untokenizable as problem:
        raise UserError(
            f"The tokenizer in {tokenizer.name_or_path}: {problem.reason}; its chat template must take {what}."
        ) from problem
