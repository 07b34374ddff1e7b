"""Before a training: the layout of its passes, and whether the cached scores are still the reference model's."""

from collections.abc import Callable
from pathlib import Path

import torch

from bdpo.config import ModelSettings
from bdpo.errors import UserError
from bdpo.layout.rows import Layout
from bdpo.logprobs.proof import TRIAL_TOLERANCE, choose_layout, moved_by
from bdpo.logprobs.score import score_rows
from bdpo.models.allocator import release_memory
from bdpo.models.loading import load_reference
from bdpo.models.source import ModelSource
from bdpo.training.prepare import read_split

_SAMPLE_PAIRS = 8


def find_layout(source: ModelSource, model: ModelSettings, say: Callable[[str], None]) -> Layout:
    """The layout of a training's passes, which its processes take without a trial of their own.

    It is tried where the model scores, on a GPU if there is one, while theirs is in main memory still.  The memory is
    given back, on a GPU too, for the training that follows is another process.

    Args:
        source: the model from which the policy starts.
        model: truncation, dtype and attention.
        say: gets one line when the layout is the plain one.

    Raises:
        UserError: as for `load_reference` and `choose_layout`.
    """
    try:
        return choose_layout(load_reference(source, model), say, max_length=model.max_length)
    finally:
        release_memory()


def check_scores(
    prepared: Path, source: ModelSource, model: ModelSettings, token_budget: int, say: Callable[[str], None]
) -> Layout:
    """Recompute a sample of cached scores with the reference model, loaded from its own folder.

    Its memory is given back as by `find_layout`.

    Args:
        prepared: the training rows.
        source: the reference model.
        model: truncation, dtype and attention.
        token_budget: most tokens of a forward pass.
        say: gets one line when the layout is the plain one.

    Returns:
        The layout of the training's passes, as `find_layout`.

    Raises:
        UserError: a score is not this model's; the pair and both numbers are named.
    """
    try:
        return _recompute(prepared, source, model, token_budget, say)
    finally:
        release_memory()


def _recompute(
    prepared: Path, source: ModelSource, model: ModelSettings, token_budget: int, say: Callable[[str], None]
) -> Layout:
    data = read_split(prepared, "train")
    spread = torch.linspace(0, len(data.rows) - 1, min(_SAMPLE_PAIRS, len(data.rows))).long().tolist()
    reference = load_reference(source, model)
    layout = choose_layout(reference, say, max_length=model.max_length)
    sample = [data.rows[i] for i in spread]
    for scored in score_rows(reference, sample, token_budget=token_budget, layout=layout):
        for place, logps in zip(scored.indices, scored.logps, strict=True):
            cached = data.ref_logps[spread[place]].tolist()
            for side, found, expected in zip(("chosen", "rejected"), logps, cached, strict=True):
                now = float(found.astype("float64").sum())
                moved = moved_by(torch.tensor(now - expected), torch.tensor(len(found)))
                # Asked so that a nan is refused too.
                if not moved <= TRIAL_TOLERANCE[reference.dtype]:
                    raise UserError(
                        f"The cached log-prob of the {side} response of pair {data.pair_ids[spread[place]]} is "
                        f"{expected:.4f} and the reference model now gives {now:.4f}: the scores are not this "
                        "model's; run `--force score`."
                    )
    return layout
