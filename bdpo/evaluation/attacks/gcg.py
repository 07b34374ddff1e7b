"""GCG (arXiv 2307.15043) through `nanogcg`: a suffix that makes the start of a compliant reply likely.

The one module that imports nanogcg, which is optional: `pip install --no-deps nanogcg` (its own requirements ask
for a transformers of 2024; it runs with the present one).
"""

from copy import copy
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bdpo.errors import UserError
from bdpo.evaluation.attacks.goals import Goal
from bdpo.layout.rendering import used_template


def require_nanogcg() -> Any:
    """The module, which is optional.

    Raises:
        UserError: it is not installed.
    """
    try:
        import nanogcg
    except ImportError:
        raise UserError("The attack gcg needs nanogcg: pip install --no-deps nanogcg.") from None
    return nanogcg


def gcg_prompt(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    goal: Goal,
    *,
    steps: int,
    search_width: int,
    seed: int,
) -> str:
    """The goal with the best suffix that was found.

    Args:
        model: white box: its gradients are taken.
        tokenizer: with a chat template.
        goal: what to bring about.
        steps: of the search.
        search_width: suffixes tried a step.
        seed: of the search.

    Raises:
        UserError: nanogcg is not installed.
    """
    nanogcg = require_nanogcg()
    config = nanogcg.GCGConfig(
        num_steps=steps,
        search_width=search_width,
        topk=min(256, len(tokenizer)),
        batch_size=min(search_width, _CANDIDATES),
        seed=seed,
        use_prefix_cache=False,  # nanogcg reads the cache as transformers had it in 2024
        verbosity="ERROR",
    )
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    asking = copy(tokenizer)  # nanogcg writes the prompt itself, and is to write what the model is asked with
    asking.chat_template = used_template(tokenizer)
    found = nanogcg.run(model, asking, f"{goal.goal} {{optim_str}}", goal.target, config)
    return f"{goal.goal} {found.best_string}"


_CANDIDATES = 32
"""Suffixes in one forward pass."""
