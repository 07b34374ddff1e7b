"""Scoring many rows without gradients, one forward pass at a time."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from bdpo.errors import UserError
from bdpo.layout.rows import Layout, Row, collate, group_rows
from bdpo.logprobs.compiled import with_compiler
from bdpo.logprobs.forward import require_room, response_logps
from bdpo.models.allocator import kept_memory


class ScoredRows(NamedTuple):
    """What one forward pass gives."""

    indices: list[int]
    """Which rows."""
    logps: list[list[NDArray[np.float32]]]
    """Log-probs in nats of each row's responses, one a token."""


class NonFinite(ArithmeticError):  # noqa: N818 (named for what the number is)
    """A model gave `value` as the log-prob of a token of the response `response` of the row `index`."""

    def __init__(self, index: int, response: int, value: float) -> None:
        super().__init__(
            f"response {response} of row {index} has a token log-prob of {value}, which is not a finite number of at "
            "most 0"
        )
        self.index = index
        self.response = response
        self.value = value

    def explained(self, stage: str, whose: str) -> UserError:
        """The sentence of a stage for a user; `whose`: what the row is called there."""
        return UserError(
            f"{stage}: the model gives a token of {whose} the log-prob {self.value}, which is no finite number of at "
            "most 0; try model.dtype float32, or train again with a lower train.learning_rate."
        )


def score_rows(
    model: PreTrainedModel,
    rows: Sequence[Row],
    *,
    token_budget: int,
    layout: Layout,
    share: slice = slice(None),
) -> Iterator[ScoredRows]:
    """Token log-probs of every response of every row.

    Args:
        model: in eval mode.
        rows: what to score.
        token_budget: most tokens of a forward pass, padding included.
        layout: what `choose_layout` proved for this model.
        share: which of the forward passes to do.

    Yields:
        One item a forward pass, in the order of `group_rows`.

    Raises:
        NonFinite: a log-prob is not finite, or positive.
        UserError: the model's layers are compiled, and that again and again.
    """
    with kept_memory():
        for indices in group_rows(rows, token_budget, layout)[share]:
            chosen = [rows[i] for i in indices]
            with with_compiler(model), torch.inference_mode():
                batch = collate(chosen, layout)
                require_room(model, batch)
                logps = response_logps(model, batch.to(model.device)).cpu().numpy()
            yield ScoredRows(indices, _unflatten(logps, indices, chosen))


def _unflatten(logps: NDArray[Any], indices: list[int], rows: list[Row]) -> list[list[NDArray[np.float32]]]:
    result, start = [], 0
    for index, row in zip(indices, rows, strict=True):
        parts = []
        for number, response in enumerate(row.responses):
            part = logps[start : start + len(response)]
            bad = part[~(np.isfinite(part) & (part <= 0))]
            if bad.size:
                raise NonFinite(index, number, float(bad[0]))
            parts.append(part.copy())
            start += len(response)
        result.append(parts)
    return result
