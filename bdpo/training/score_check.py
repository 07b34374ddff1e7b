"""Before a training, whether the cached scores are still the reference model's."""

from pathlib import Path

import torch

from bdpo.config import ModelSettings
from bdpo.errors import UserError
from bdpo.logprobs.proof import TRIAL_TOLERANCE, choose_layout, moved_by
from bdpo.logprobs.score import score_rows
from bdpo.models.allocator import release_memory
from bdpo.models.loading import load_reference
from bdpo.models.source import ModelSource
from bdpo.training.prepare import read_split

_SAMPLE_PAIRS = 8


def check_scores(prepared: Path, source: ModelSource, model: ModelSettings, token_budget: int) -> None:
    """Recompute a sample of cached scores with the reference model, loaded from its own folder.

    Its memory is given back, on a GPU too, for the training that follows is another process.

    Args:
        prepared: the training rows.
        source: the reference model.
        model: truncation, dtype and attention.
        token_budget: most tokens of a forward pass.

    Raises:
        UserError: a score is not this model's; the pair and both numbers are named.
    """
    try:
        _recompute(prepared, source, model, token_budget)
    finally:
        release_memory()


def _recompute(prepared: Path, source: ModelSource, model: ModelSettings, token_budget: int) -> None:
    data = read_split(prepared, "train")
    spread = torch.linspace(0, len(data.rows) - 1, min(_SAMPLE_PAIRS, len(data.rows))).long().tolist()
    reference = load_reference(source, model)
    layout = choose_layout(reference, lambda line: None, max_length=model.max_length)
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
