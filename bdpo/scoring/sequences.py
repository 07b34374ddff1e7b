"""Which sequences a set of pairs asks for, and how they share forward passes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from bdpo.layout.chat import TokenizedPair, cut_prompt
from bdpo.layout.rows import Layout, Row
from bdpo.logprobs.keys import sequence_key


class TokenSequence(NamedTuple):
    """A response after a prompt, the unit of scoring."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]


class PairKeys(NamedTuple):
    """The four sequences of a pair, by key; fields are named as the columns of SCORED_PAIRS."""

    chosen_key: str
    rejected_key: str
    null_chosen_key: str
    null_rejected_key: str


class KeyedRow(NamedTuple):
    """A row, and the keys of its responses in their order."""

    keys: tuple[str, ...]
    row: Row


def name_sequences(
    pairs: Sequence[TokenizedPair],
    null_prompt: tuple[int, ...],
    scorer_digest: str,
    *,
    max_length: int,
    bos: int | None = None,
) -> tuple[list[PairKeys], dict[str, TokenSequence]]:
    """The sequences of pairs, with and without their prompt.

    Args:
        pairs: tokenised pairs.
        null_prompt: what takes the prompt's place in the unconditional pass.
        scorer_digest: who is to score.
        max_length: longest prompt plus response, in tokens.  The null prompt may be longer than a prompt, by the
            template's own system turn, and is then cut from its start like any prompt.
        bos: the tokenizer's token that begins a text, which no cut takes away.

    Returns:
        The keys of each pair, and every sequence once by its key.
    """
    sequences: dict[str, TokenSequence] = {}

    def name(prompt: tuple[int, ...], response: tuple[int, ...]) -> str:
        prompt = cut_prompt(prompt, max_length - len(response), bos)
        key = sequence_key(prompt, response, scorer_digest)
        sequences[key] = TokenSequence(prompt, response)
        return key

    keys = [
        PairKeys(
            name(pair.prompt_ids, pair.chosen_ids),
            name(pair.prompt_ids, pair.rejected_ids),
            name(null_prompt, pair.chosen_ids),
            name(null_prompt, pair.rejected_ids),
        )
        for pair in pairs
    ]
    return keys, sequences


def share_prompts(sequences: Mapping[str, TokenSequence], *, token_budget: int, layout: Layout) -> list[KeyedRow]:
    """Rows in which sequences with the same prompt stand behind it together.

    The longest come first, and how many a row takes depends on its longest alone.  So where whole rows
    are already scored, the sequences that are left form the very rows that they would have formed.

    Args:
        sequences: what is to be scored, by key.
        token_budget: most input tokens of a row that more than one response shares.
        layout: the plain one shares no prompt, so each sequence is a row of its own.

    Returns:
        The rows, by their keys.
    """
    by_prompt: dict[tuple[int, ...], list[str]] = {}
    for key, sequence in sequences.items():
        by_prompt.setdefault(sequence.prompt_ids, []).append(key)
    rows = []
    for prompt, keys in by_prompt.items():
        keys.sort(key=lambda key: (-len(sequences[key].response_ids), key))
        start = 0
        while start < len(keys):
            longest = len(sequences[keys[start]].response_ids)
            many = (token_budget - len(prompt)) // longest if layout is Layout.PACKED else 1
            members = tuple(keys[start : start + max(many, 1)])
            rows.append(KeyedRow(members, Row(prompt, tuple(sequences[key].response_ids for key in members))))
            start += len(members)
    return sorted(rows, key=lambda row: row.keys)
