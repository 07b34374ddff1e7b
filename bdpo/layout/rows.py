"""Token rows to the tensors of one forward pass.

Letters: B rows of the tensors, T their length, N response tokens in all.

`Layout.PACKED` lays every row end to end in one tensor row, `[what all prompts begin with |
prompt | response 1 | response 2 ... | next prompt | ...]`: a beginning that all prompts share
(a system turn) and each prompt are computed once, a token's position continues from the
token that it follows, and nothing is padding.  Each response sees its prompt and itself
only: `bdpo.logprobs.attention` attends span by span, as `Batch.packing` says, so that
attention costs what the rows cost one at a time.  `Layout.PLAIN` gives every response a
tensor row `[prompt | response]` of its own, padded on the right, for models whose attention
cannot be replaced.

The last token of a response is predicted but predicts nothing that is needed, so it is a
target and never an input.  Masks come from lengths alone: the padding id may well be a
token of the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

_PADDING = 0  # any id that every model has; no target depends on it

_WORTH_A_PASS = 512
"""Tokens from which on a pass of its own costs a CPU less than padding does."""
_SIMILAR = 7 / 8
"""Least length, of the group's longest, of a padded row that joins beyond that."""


_WORTH_SHARING = 8
"""Tokens from which on a common beginning costs less computed once, and then copied for each row's attention."""


class Layout(Enum):
    """How prompts and responses share a forward pass."""

    PACKED = "packed"
    PLAIN = "plain"


class Row(NamedTuple):
    """A prompt and the responses to it whose tokens are to be scored; none of them empty."""

    prompt_ids: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]


class Span(NamedTuple):
    """A row's place in a packed tensor row: its prompt, then the inputs of each response."""

    prompt: int
    """Tokens of the prompt, at least 1, without those of the common beginning."""
    responses: tuple[int, ...]
    """Input tokens of each response; 0 where it has one token, which is a target only."""


class Packing(NamedTuple):
    """How a packed tensor row is made up."""

    beginning: int
    """Tokens that every prompt begins with, which stand first and once; 0 where that saves too little."""
    spans: tuple[Span, ...]
    """The rows, one after the other."""


@dataclass(frozen=True)
class Batch:
    """The tensors of one forward pass."""

    input_ids: Tensor
    """(B, T) int64; B is 1 where rows are packed."""
    position_ids: Tensor | None
    """(B, T) int64; None where every row counts from 0, as a model does by itself."""
    packing: Packing | None
    """How the one row is packed; None for plain causal attention, in which no token that counts sees the padding
    on its right."""
    sources: Tensor
    """(N,) int64: index into the flattened (B * T) hidden states of what predicts each response token."""
    targets: Tensor
    """(N,) int64: the response tokens, rows in order, then responses in order."""
    response_lengths: list[int]
    """Tokens of each response; their sum is N."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=None if self.position_ids is None else self.position_ids.to(device),
            sources=self.sources.to(device),
            targets=self.targets.to(device),
        )


def group_rows(rows: Sequence[Row], token_budget: int, layout: Layout) -> list[list[int]]:
    """Group rows into forward passes.

    Longest first, and greedily, so that dropping the first k groups leaves the others as they are, and
    memory runs out at once or never.  Padded rows are grouped by similar length: a group with enough work
    to be worth a pass ends before a row that would be mostly padding.

    Args:
        rows: in any order; the grouping depends on their content, ties go by index.
        token_budget: most input tokens of a pass, padding included; a longer row goes alone.
        layout: how rows become tensor rows.

    Returns:
        Indices into `rows`, one list a forward pass; each index once.
    """
    widths = [_width(row, layout) for row in rows]
    longest_first = sorted(range(len(rows)), key=lambda i: (-widths[i], i))
    if layout is Layout.PACKED:
        return _fill(longest_first, widths, token_budget)
    groups: list[list[int]] = []
    room = longest = tokens = 0
    for i in longest_first:
        height = len(rows[i].responses)
        if room < height or (tokens >= _WORTH_A_PASS and widths[i] < _SIMILAR * longest):
            groups.append([])
            longest, tokens = widths[i], 0
            room = max(token_budget // longest, height)
        groups[-1].append(i)
        room -= height
        tokens += height * longest
    return groups


def _fill(order: Sequence[int], widths: Sequence[int], token_budget: int) -> list[list[int]]:
    groups: list[list[int]] = []
    room = 0
    for i in order:
        if not groups or widths[i] > room:
            groups.append([])
            room = token_budget
        groups[-1].append(i)
        room -= widths[i]
    return groups


def collate(rows: Sequence[Row], layout: Layout) -> Batch:
    """Lay rows out as the tensors of one forward pass.

    Raises:
        ValueError: a prompt or a response is empty, or there are no rows.
    """
    if not rows or not all(row.prompt_ids and row.responses and all(row.responses) for row in rows):
        raise ValueError("a batch needs rows, and each row a prompt and responses that are not empty")
    return _pack(rows) if layout is Layout.PACKED else _pad(rows)


def _pack(rows: Sequence[Row]) -> Batch:
    common = _common_beginning([row.prompt_ids for row in rows])
    inputs: list[int] = list(rows[0].prompt_ids[:common])
    positions: list[int] = list(range(common))
    sources: list[int] = []
    targets: list[int] = []
    spans: list[Span] = []
    for prompt, responses in rows:
        length = len(prompt)
        inputs += prompt[common:]
        positions += range(common, length)
        last = len(inputs) - 1
        for response in responses:
            # The prompt's last token predicts the first token of every response.
            sources += [last, *range(len(inputs), len(inputs) + len(response) - 1)]
            targets += response
            inputs += response[:-1]
            positions += range(length, length + len(response) - 1)
        spans.append(Span(length - common, tuple(len(response) - 1 for response in responses)))
    return Batch(
        input_ids=torch.tensor([inputs]),
        position_ids=torch.tensor([positions]),
        packing=Packing(common, tuple(spans)),
        sources=torch.tensor(sources),
        targets=torch.tensor(targets),
        response_lengths=_lengths(rows),
    )


def _common_beginning(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all prompts begin with, the last one of a prompt left to itself; 0 where few."""
    if len(prompts) == 1:
        return 0
    # What the smallest and the largest have in common, all have.
    one, other = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 1
    common = next((i for i in range(most) if one[i] != other[i]), most)
    return common if common >= _WORTH_SHARING else 0


def _pad(rows: Sequence[Row]) -> Batch:
    lines = [(row.prompt_ids, response) for row in rows for response in row.responses]
    length = max(len(prompt) + len(response) - 1 for prompt, response in lines)
    input_ids = torch.full((len(lines), length), _PADDING)
    sources: list[int] = []
    targets: list[int] = []
    for b, (prompt, response) in enumerate(lines):
        inputs = prompt + response[:-1]
        input_ids[b, : len(inputs)] = torch.tensor(inputs)
        first = b * length + len(prompt) - 1
        sources += range(first, first + len(response))
        targets += response
    return Batch(
        input_ids=input_ids,
        position_ids=None,
        packing=None,
        sources=torch.tensor(sources),
        targets=torch.tensor(targets),
        response_lengths=_lengths(rows),
    )


def _lengths(rows: Sequence[Row]) -> list[int]:
    return [len(response) for row in rows for response in row.responses]


def _width(row: Row, layout: Layout) -> int:
    """Input tokens of a row, or of the longest of its rows."""
    inputs = [len(response) - 1 for response in row.responses]
    return len(row.prompt_ids) + (sum(inputs) if layout is Layout.PACKED else max(inputs))
