"""Which layout a model can take, proved on the very model before it is used.

Replacing a model's attention is only right if all of it can be replaced: some models do
not look their attention up, some do more in it than they declare.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bdpo.errors import UserError, first_line
from bdpo.layout.rows import Layout, Row, collate
from bdpo.logprobs.attention import (
    has_packed_attention,
    stop_packed_attention,
    takes_packed_rows,
    use_packed_attention,
)
from bdpo.logprobs.forward import longest_row, response_logps
from bdpo.models.allocator import wants_memory

_PROMPT, _RESPONSES, _NEIGHBOUR = 256, (40, 24), (9, 5)
TRIAL_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.15}
"""Largest mean difference over a response, in nats a token.  With the embedded model and random tokens, rounding
gives 4e-6 and 0.03; wrong attention or wrong positions give 0.4 and more."""
_TIMES_ROUNDING, _MOST = 3.0, 0.3
"""What is allowed instead where the model's own forward moves more: experts, which rounding may choose between, and
small models do in bfloat16.  Never more than the second, in nats a token."""
_SHORTEST = 8
_KNOWN_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
"""Kinds of layers, in `transformers`' names, that see all tokens before them or those in a window that is declared."""
_FOLLOWING_LENGTH = ("longrope", "dynamic")
"""Kinds of rotary embedding, in `transformers`' names, whose frequencies depend on the longest row of a pass."""


def moved_by(difference: Tensor, num_tokens: Tensor) -> Tensor:
    """How far rounding has moved summed log-probs, in nats a token, to be held against `TRIAL_TOLERANCE`.

    As if a response had eight tokens at least: one token alone moves by up to 0.7 nats in bfloat16 with the rows
    of a pass, and short answers by their nature have no others that it averages out with.

    Args:
        difference: of two sums.
        num_tokens: of the response, of the same shape.
    """
    return difference.abs() / num_tokens.clamp(min=_SHORTEST)


def choose_layout(model: PreTrainedModel, say: Callable[[str], None], *, max_length: int | None = None) -> Layout:
    """The packed layout where this model computes it rightly, else the plain one.

    One random pair, beside a shorter neighbour, goes through the layout and through one-row forwards
    of the whole model; it is longer than an attention window that rows can exceed, and as long as rows can
    be where layers may choose what to attend to once there is enough.  For the packed layout the model's
    attention is replaced, which changes nothing for whatever is not packed; a model with
    layers that may carry a state is not tried in it.

    Args:
        model: in eval mode.
        say: gets one line when the layout is the plain one.
        max_length: longest prompt plus response that there will be; any length by default.

    Raises:
        UserError: the model cannot run or gives no numbers, its rows may be so long that they change the others of
            a pass, or not even plain rows agree with its own forward.
    """
    _require_constant_positions(model, max_length)
    row, neighbour = trial_rows(model, max_length)
    expected = [*_whole_forwards(model, row), *_whole_forwards(model, neighbour)]
    if not all(logps.isfinite().all() for logps in expected):
        raise UserError(
            f"The model ({model.config.model_type}) gives log-probs that are not finite, for random tokens already: "
            "its weights are damaged, or too large for this model.dtype."
        )

    @cache
    def noise() -> float:
        return _noise(model, [row, neighbour], expected)

    if not takes_packed_rows(model):
        why = f"its attention is {model.config._attn_implementation}, not sdpa"
    elif unknown := _unknown_layers(model.config.get_text_config()):
        # Of a short memory, or with flat logits, what a row leaves behind for the next may be within the tolerance.
        why = f"its layers of the kinds {', '.join(unknown)} may carry a state"
    elif getattr(model.config.get_text_config(), "attn_temperature_tuning", False):
        # Llama 4's layers without positions, from the `floor_scale`-th token (8192) on, which no trial reaches.
        why = "its attention counts tokens from the start of a pass"
    else:
        try:
            difference = _packed_difference(model, [row, neighbour], expected)
        except (IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            if wants_memory(str(error)):
                raise  # says nothing of the model
            why = f"it refuses packed rows: {first_line(error)}"
        else:
            if _is_rounding(difference, model.dtype, noise):
                return Layout.PACKED
            why = f"log-probs moved by {difference:.2g} nats a token in the trial"
        stop_packed_attention(model)
    difference = _difference(model, [row, neighbour], Layout.PLAIN, expected)
    if not _is_rounding(difference, model.dtype, noise):
        if model.dtype is not torch.float32 and noise() > TRIAL_TOLERANCE[model.dtype] / 3:
            raise UserError(
                f"The model ({model.config.model_type}) is not made for this model.dtype: its own log-probs move by "
                f"{noise():.2g} nats a token with the number of rows in a pass; set model.dtype=float32."
            )
        raise UserError(
            f"The model ({model.config.model_type}) turns hidden states into logits in a way that bdpo does not know: "
            f"its own forward and bdpo's log-probs differ by {difference:.2g} nats a token, where "
            f"{TRIAL_TOLERANCE[model.dtype]:g} is allowed; use a model of another family."
        )
    say(f"Each response gets a row of its own, because {model.config.model_type} cannot share a prompt: {why}.")
    return Layout.PLAIN


def take_layout(model: PreTrainedModel, layout: Layout) -> None:
    """Make a model ready for the layout that `choose_layout` gave in another process for the same weights.

    No pass is made: layers with kernels for a GPU alone run nowhere else, and a model may not be on its own yet.
    """
    if layout is Layout.PACKED:
        use_packed_attention(model)
        assert has_packed_attention(model), "the trial has found that this model's attention can be replaced"


def _require_constant_positions(model: PreTrainedModel, max_length: int | None) -> None:
    """A rotary embedding that follows the longest row of a pass would give a row other scores beside a long one."""
    config = model.config.get_text_config()
    scaling = getattr(config, "rope_parameters", None) or {}
    for rope in (scaling, *(part for part in scaling.values() if isinstance(part, dict))):
        if rope.get("rope_type") not in _FOLLOWING_LENGTH:
            continue
        limit = rope.get("original_max_position_embeddings") or config.max_position_embeddings
        if max_length is not None and max_length > limit:
            raise UserError(
                f"model.max_length {max_length}: beyond {limit} tokens a row changes the positions of all rows beside "
                f"it ({rope['rope_type']} positions of {config.model_type}); set model.max_length to {limit} or less."
            )


def _packed_difference(model: PreTrainedModel, rows: list[Row], expected: list[Tensor]) -> float:
    """`_difference` of the packed layout; NotImplementedError where the model's attention cannot be replaced."""
    use_packed_attention(model)
    if not has_packed_attention(model):
        raise NotImplementedError("its attention cannot be replaced")
    return _difference(model, rows, Layout.PACKED, expected)


def _difference(model: PreTrainedModel, rows: list[Row], layout: Layout, expected: list[Tensor]) -> float:
    """How far a layout is from what is expected, as `largest_difference` has it."""
    with torch.no_grad():
        found = response_logps(model, collate(rows, layout).to(model.device))
    return largest_difference(found, torch.cat(expected), [len(logps) for logps in expected])


def largest_difference(found: Tensor, expected: Tensor, response_lengths: Sequence[int]) -> float:
    """How far log-probs are from what is expected: a response's mean, in nats a token, of the worst response.

    A state that leaks spoils what comes after it alone: the mean over all would hide it behind the first response.

    Args:
        found: (N,) of all responses, one after the other.
        expected: (N,)
        response_lengths: of each response; their sum is N.
    """
    # Of a model over several GPUs, its own forward brings logits back to the first; the last has the output layer.
    difference = found - expected.to(found.device)
    means = [part.abs().mean() for part in torch.split(difference, list(response_lengths))]
    return torch.stack(means).max().item()


def _is_rounding(difference: float, dtype: torch.dtype, noise: Callable[[], float]) -> bool:
    """Whether a difference is allowed; the noise, of passes of eight rows, is measured where it decides alone."""
    tolerance = TRIAL_TOLERANCE[dtype]
    if dtype is torch.float32 or not tolerance < difference <= _MOST:
        return difference <= tolerance
    return difference <= _TIMES_ROUNDING * noise()


def _noise(model: PreTrainedModel, rows: list[Row], expected: list[Tensor]) -> float:
    """How far the model's own forward moves where a row has seven like it beside it, as `largest_difference` has it."""
    beside = [logps for row in rows for logps in _whole_forwards(model, row, copies=8)]
    return largest_difference(torch.cat(beside), torch.cat(expected), [len(logps) for logps in expected])


def _whole_forwards(model: PreTrainedModel, row: Row, *, copies: int = 1) -> list[Tensor]:
    """Log-probs of a row's responses, each from the model's own forward of an unpadded row, or of copies of it."""
    logps = []
    for response in row.responses:
        ids = torch.tensor([row.prompt_ids + response], device=model.device).expand(copies, -1)
        try:
            with torch.no_grad():
                logits = model(input_ids=ids, use_cache=False).logits[0, len(row.prompt_ids) - 1 : -1].float()
        except (NotImplementedError, ValueError) as error:
            raise UserError(
                f"The model ({model.config.model_type}) cannot run with this model.attention: {first_line(error)}"
            ) from error
        logps.append(logits.log_softmax(-1).gather(-1, torch.tensor(response, device=model.device)[:, None])[:, 0])
    return logps


def trial_rows(model: PreTrainedModel, max_length: int | None) -> tuple[Row, Row]:
    """A random pair and its shorter neighbour, the same every time, as `choose_layout` describes them."""
    config = model.config.get_text_config()
    trial = _PROMPT + max(_RESPONSES)
    if max_length is not None and _unknown_layers(config):
        trial = max(trial, max_length)
    window = _window(config)
    if window is not None:
        trial = max(trial, window + 2 * max(_RESPONSES))
    limits = [longest_row(config)[1], max_length, trial]
    longest = min(limit for limit in limits if limit is not None)
    generator = torch.Generator().manual_seed(0)

    # Gemma 3n's later tokens are pictures and sounds, which the decoder alone embeds as if they were text.
    vocabulary = min(config.vocab_size, getattr(config, "vocab_size_per_layer_input", config.vocab_size))

    def ids(number: int) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (number,), generator=generator).tolist())

    pair = Row(ids(max(longest - max(_RESPONSES), 1)), tuple(ids(n) for n in _RESPONSES))
    prompt, response = _NEIGHBOUR
    return pair, Row(ids(prompt), (ids(response),))


def _unknown_layers(config: Any) -> list[str]:
    """Kinds of layers that a config declares and that are not of the known ones."""
    return sorted(set(getattr(config, "layer_types", None) or []) - _KNOWN_LAYERS)


def _window(config: Any) -> int | None:
    """The shortest attention window that a config declares, in tokens."""
    if set(getattr(config, "layer_types", None) or ["unknown"]) == {"full_attention"}:
        return None
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size", "window_size")]
    return min((window for window in windows if isinstance(window, int)), default=None)
