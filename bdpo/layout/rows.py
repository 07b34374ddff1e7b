"""Token rows to the tensors of one forward pass.

Letters: B rows of the tensors, T their padded length, N response tokens in all.

`Layout.BRANCHED` lays a row out as `[prompt | response 1 | response 2 ...]`: the
prompt is computed once, each response sees the prompt and itself only, and its
positions go on from the prompt's.  `Layout.PLAIN` gives every response a row
`[prompt | response]` of its own, for models whose attention cannot take that mask.

The last token of a response is predicted but predicts nothing that is asked for,
so it is a target and never an input.  Masks come from lengths alone: the padding
id may well be a token that stands in the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

_PADDING = 0  # any id that every model has; no mask and no target depends on it

_WORTH_A_PASS = 512
"""Tokens from which on a pass of its own costs a CPU less than padding does."""
_SIMILAR = 7 / 8
"""Least length, of the group's longest, of a row that joins beyond that."""


class Layout(Enum):
    """How the responses to one prompt share a forward pass."""

    BRANCHED = "branched"
    PLAIN = "plain"


class Row(NamedTuple):
    """A prompt and the responses to it whose tokens are to be scored; none of them empty."""

    prompt_ids: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Batch:
    """The tensors of one forward pass."""

    input_ids: Tensor
    """(B, T) int64."""
    position_ids: Tensor | None
    """(B, T) int64; None where every row counts from 0, as a model does by itself."""
    attention_mask: Tensor | None
    """(B, 1, T, T) bool, True where query (dim 2) sees key (dim 3); None for plain causal attention,
    in which padding on the right is seen by nothing that counts."""
    sources: Tensor
    """(N,) int64: index into the flattened (B * T) hidden states of what predicts each response token."""
    targets: Tensor
    """(N,) int64: the response tokens, rows in order, then responses in order."""
    response_lengths: list[int]
    """Tokens of each response; their sum is N."""

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=move(self.position_ids),
            attention_mask=move(self.attention_mask),
            sources=self.sources.to(device),
            targets=self.targets.to(device),
        )


def group_rows(rows: Sequence[Row], token_budget: int, layout: Layout) -> list[list[int]]:
    """Group rows of similar length into forward passes.

    Longest first, and greedily: a group's length is its first row's, so dropping the first k groups
    leaves the same groups behind them, and memory runs out at once or never.  A group that has work enough
    to be worth a pass ends before a row that would be much padding.

    Args:
        rows: in any order; the grouping depends on their content, ties go by index.
        token_budget: most input tokens of a pass, padding included; a longer row goes alone.
        layout: how rows become tensor rows.

    Returns:
        Indices into `rows`, one list a forward pass; each index once.
    """
    widths = [_width(row, layout) for row in rows]
    groups: list[list[int]] = []
    room = longest = tokens = 0
    for i in sorted(range(len(rows)), key=lambda i: (-widths[i], i)):
        height = 1 if layout is Layout.BRANCHED else len(rows[i].responses)
        if room < height or (tokens >= _WORTH_A_PASS and widths[i] < _SIMILAR * longest):
            groups.append([])
            longest, tokens = widths[i], 0
            room = max(token_budget // longest, height)
        groups[-1].append(i)
        room -= height
        tokens += height * longest
    return groups


def collate(rows: Sequence[Row], layout: Layout) -> Batch:
    """Lay rows out as the tensors of one forward pass.

    Raises:
        ValueError: a prompt or a response is empty, or there are no rows.
    """
    if not rows or not all(row.prompt_ids and row.responses and all(row.responses) for row in rows):
        raise ValueError("a batch needs rows, and each row a prompt and responses that are not empty")
    if layout is Layout.PLAIN:
        rows = [Row(row.prompt_ids, (response,)) for row in rows for response in row.responses]
    length = max(_width(row, Layout.BRANCHED) for row in rows)
    shape = (len(rows), length)
    input_ids = torch.full(shape, _PADDING)
    position_ids = torch.zeros(shape, dtype=torch.int64)
    branches = torch.full(shape, -1)  # 0: prompt, 1, 2, ...: response, -1: padding
    sources: list[int] = []
    targets: list[int] = []
    for b, (prompt, responses) in enumerate(rows):
        end = len(prompt)
        input_ids[b, :end] = torch.tensor(prompt)
        position_ids[b, :end] = torch.arange(end)
        branches[b, :end] = 0
        last = b * length + end - 1
        for branch, response in enumerate(responses, start=1):
            inputs = slice(end, end + len(response) - 1)
            input_ids[b, inputs] = torch.tensor(response[:-1], dtype=torch.int64)
            position_ids[b, inputs] = torch.arange(len(prompt), len(prompt) + len(response) - 1)
            branches[b, inputs] = branch
            # The prompt's last token predicts the first token of every response.
            sources += [last, *range(b * length + inputs.start, b * length + inputs.stop)]
            targets += response
            end = inputs.stop
    branched = any(len(row.responses) > 1 for row in rows)
    return Batch(
        input_ids=input_ids,
        position_ids=position_ids if branched else None,
        attention_mask=_mask(branches) if branched else None,
        sources=torch.tensor(sources),
        targets=torch.tensor(targets),
        response_lengths=[len(response) for row in rows for response in row.responses],
    )


def _mask(branches: Tensor) -> Tensor:
    """(B, T) branch numbers to the (B, 1, T, T) mask of who sees whom.

    Padding sees the prompt and itself, so that no query is left with nothing to see.
    """
    query, key = branches[:, :, None], branches[:, None, :]
    causal = torch.ones(branches.shape[1], branches.shape[1], dtype=torch.bool).tril()
    return (((key == 0) | (key == query)) & causal)[:, None]


def _width(row: Row, layout: Layout) -> int:
    """Input tokens of a row, or of the longest of its rows."""
    inputs = [len(response) - 1 for response in row.responses]
    return len(row.prompt_ids) + (sum(inputs) if layout is Layout.BRANCHED else max(inputs))
