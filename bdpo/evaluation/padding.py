"""Whether a model leaves padding on the left of a prompt out of account, tried on the very model.

Most do, by the attention mask.  A recurrent one may read the padding as if it were text, and would say other things
beside a longer prompt than alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import GenerationConfig, PreTrainedModel

from bdpo.evaluation.generation import alone

_LENGTHS = 7, 40
_STEPS = 3
"""The first reads the prompt, the others what is kept of it."""
_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.15}
"""In nats: padding that is read moves some models by less than a thousandth."""
_TIMES_ROUNDING = 3.0
_MOST = 0.3
"""In nats: more is no rounding.  Of a recurrent model the neighbour may move as much."""


class PaddingTrial(NamedTuple):
    """How far the log-probs of all next tokens lie apart between a prompt alone and in one pass with another.

    Means, in nats, each of the worst of three steps; nan where one is.
    """

    padded: float
    """Of the short prompt, which is padded there."""
    unpadded: float
    """Of the long one, which is not: what rounding alone does, in bfloat16 as much as some trials allow."""

    def is_rounding(self, dtype: torch.dtype) -> bool:
        """Whether padding moves no more than rounding does."""
        return self.padded <= max(_TOLERANCE[dtype], min(_TIMES_ROUNDING * self.unpadded, _MOST))


def try_padding(model: PreTrainedModel) -> PaddingTrial:
    """How far a longer neighbour moves what comes after a prompt.

    Args:
        model: in eval mode.
    """
    generator = torch.Generator().manual_seed(0)
    short, long = (torch.randint(_vocabulary(model), (length,), generator=generator) for length in _LENGTHS)
    padded = torch.cat([short.new_zeros(len(long) - len(short)), short])
    mask = torch.ones(2, len(long), dtype=torch.int64)
    mask[0, : len(long) - len(short)] = 0
    beside = _next_logps(model, torch.stack([padded, long]), mask)
    apart = [_next_logps(model, ids[None], torch.ones(1, len(ids), dtype=torch.int64)) for ids in (short, long)]
    return PaddingTrial(*(_worst(own, [step[row] for step in beside]) for row, own in enumerate(apart)))


def _worst(apart: Sequence[torch.Tensor], beside: Sequence[torch.Tensor]) -> float:
    differences: list[torch.Tensor] = []
    for (mine,), others in zip(apart, beside, strict=True):
        differences.append((mine - others).abs().mean())
        if mine.argmax() != others.argmax():
            break  # the steps after it go on from another token
    return torch.stack(differences).max().item()  # a nan is the worst


def _next_logps(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    config = GenerationConfig(
        max_new_tokens=_STEPS, do_sample=False, output_logits=True, return_dict_in_generate=True, pad_token_id=0
    )
    with alone(config, model), torch.inference_mode():
        output = model.generate(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
        )
    return [logits.float().log_softmax(-1) for logits in output.logits]


def _vocabulary(model: PreTrainedModel) -> int:
    size: int = model.config.get_text_config().vocab_size
    return size
