"""Whether a model leaves padding on the left of a prompt out of account, tried on the very model.

Most do, by the attention mask.  A recurrent one may read the padding as if it were text, and would say other things
beside a longer prompt than alone.
"""

import torch
from transformers import GenerationConfig, PreTrainedModel

from bdpo.evaluation.generation import alone

_LENGTHS = 7, 40
_STEPS = 3
"""The first reads the prompt, the others what is kept of it."""


def padding_difference(model: PreTrainedModel) -> float:
    """How far a longer neighbour moves what comes after a prompt.

    Args:
        model: in eval mode.

    Returns:
        Mean difference of the log-probs of all next tokens, in nats, of the worst of three steps; nan where one is.
    """
    generator = torch.Generator().manual_seed(0)
    short, long = (torch.randint(_vocabulary(model), (length,), generator=generator) for length in _LENGTHS)
    padded = torch.cat([short.new_zeros(len(long) - len(short)), short])
    mask = torch.ones(2, len(long), dtype=torch.int64)
    mask[0, : len(long) - len(short)] = 0
    unpadded = _next_logps(model, short[None], torch.ones(1, len(short), dtype=torch.int64))
    beside = _next_logps(model, torch.stack([padded, long]), mask)
    differences: list[torch.Tensor] = []
    for mine, others in zip(unpadded, beside, strict=True):
        differences.append((mine[0] - others[0]).abs().mean())
        if mine[0].argmax() != others[0].argmax():
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
