"""GCG (arXiv 2307.15043) through `nanogcg`: a suffix that makes the start of a compliant reply likely.

The one module that imports nanogcg, which is optional: `pip install --no-deps nanogcg` (its own requirements ask
for a transformers of 2024; it runs with the present one).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bdpo.errors import UserError
from bdpo.evaluation.attacks.goals import Goal
from bdpo.layout.rendering import encode, used_template


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
        UserError: nanogcg is not installed, or the model answers embeddings otherwise than tokens.
    """
    nanogcg = require_nanogcg()
    (word,) = encode(tokenizer, "x")
    # SentencePiece's tokens write the space before a word themselves; others hold it, so the suffix begins with one.
    # Left to the goal, it would be a token of its own in the search, and part of the first word when it is asked.
    spaced = tokenizer.decode([*word, *word]) == "x x"
    config = nanogcg.GCGConfig(
        optim_str_init=("" if spaced else " ") + " ".join("x" * _SUFFIX_WORDS),
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
    (ids,) = encode(tokenizer, goal.goal)
    _require_embeddings_suffice(model, ids)
    asking = _Asking(tokenizer, model.get_input_embeddings().num_embeddings)
    found = nanogcg.run(_Embedded(model), asking, f"{goal.goal}{{optim_str}}", goal.target, config)
    return f"{goal.goal}{' ' if spaced else ''}{found.best_string}"


def _require_embeddings_suffice(model: PreTrainedModel, ids: Sequence[int]) -> None:
    """Refuse a model that makes more of tokens than their embeddings, by which alone nanogcg asks it.

    So do Falcon-H1, which multiplies them behind their layer, and Gemma 3n, which has others for each layer.

    Raises:
        UserError: it does.
    """
    tokens = torch.tensor([ids], device=model.device)
    with torch.no_grad():
        by_tokens = model(input_ids=tokens).logits
        by_embeddings = model(inputs_embeds=model.get_input_embeddings()(tokens)).logits
    apart = (by_tokens.float().log_softmax(-1) - by_embeddings.float().log_softmax(-1)).abs().mean().item()
    if apart > _ROUNDING:
        raise UserError(
            f"The attack gcg asks with embeddings, and {model.config.model_type} models answer them otherwise than "
            f"tokens (log-probs lie {apart:.2g} nats apart): attack this one by pair."
        )


class _Embedded:
    """A model for nanogcg, which takes a token's embedding for its row of the weights, to which its gradient is.

    Gemma's layer multiplies its rows by the root of their length: the suffix would be taken for some fifty times less
    than it is, and the search would be lost.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._own = model
        self._embeddings = model.get_input_embeddings()
        weight = self._embeddings.weight
        with torch.no_grad():
            given = self._embeddings(torch.arange(len(weight), device=weight.device))
        if not torch.equal(given, weight):
            self._embeddings = torch.nn.Embedding(given.shape[0], given.shape[1], _weight=given, _freeze=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __call__(self, **inputs: Any) -> Any:
        return self._own(**inputs)

    def get_input_embeddings(self) -> Any:
        return self._embeddings


class _Asking:
    """A tokenizer for nanogcg, which writes the prompt itself, and is to write what the model is asked with.

    It would take out the BOS token wherever the template writes it, before every turn in SmolLM2's, and leave it to the
    tokenizer to put one before the prompt.  And it would let a suffix end the user's turn: it looks for what no suffix
    may hold, which is what decodes to no printable ASCII, among the tokens that were not added.  Where a model has
    embeddings for more tokens than there are, the rest is for no suffix either.
    """

    bos_token: None = None

    def __init__(self, tokenizer: PreTrainedTokenizerBase, num_embeddings: int) -> None:
        self._own = tokenizer
        added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._special = added.union(tokenizer.all_special_ids)
        self.chat_template = used_template(tokenizer)
        self.vocab_size = num_embeddings

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __call__(self, text: str | Sequence[str], **options: Any) -> Any:
        return self._own(text, **(options | {"add_special_tokens": False}))

    def apply_chat_template(self, messages: Sequence[Mapping[str, str]], **options: Any) -> Any:
        return self._own.apply_chat_template(messages, chat_template=self.chat_template, **options)

    def decode(self, ids: Sequence[int]) -> str:
        text = "" if self._special.intersection(ids) else str(self._own.decode(ids))
        return text or _NO_ASCII


_NO_ASCII = "\N{REPLACEMENT CHARACTER}"

_ROUNDING = 0.15
"""Nats by which bfloat16's arithmetic moves log-probs at most, on average."""
_SUFFIX_WORDS = 20
"""nanogcg's own default."""
_CANDIDATES = 32
"""Suffixes in one forward pass."""
