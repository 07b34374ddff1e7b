"""Mutual information to weights: how much of the DPO loss each side of a pair gets.

Pure functions; n pairs.  The forms and their names are in `bdpo.config.methods`
and in the README; arXiv 2603.22829 gives the ideas and no formulas.

    I(x; y) = (logp(y|x) - logp(y|0)) / |y|      nats a token, 0 the null prompt
    I^ = max(I, mi_floor)                        where a form divides by I

The better comprehended response (higher I) gets the smaller weight.
"""

from typing import TYPE_CHECKING, NamedTuple

from bdpo.config.methods import METHODS, Balance, Method, Scale

if TYPE_CHECKING:
    from torch import Tensor


class Forms(NamedTuple):
    """How a method weights."""

    balance: Balance
    scale: Scale
    normalise: bool
    """Divide by the mean over the training pairs: a form that does not keep the overall magnitude
    would otherwise only change beta."""


class Weights(NamedTuple):
    """Weights of n pairs; constants, no gradient flows through them."""

    chosen: "Tensor"
    """(n,) float64, w_w."""
    rejected: "Tensor"
    """(n,) float64, w_l."""
    scale: "Tensor"
    """(n,) float64, s."""
    scaled_chosen: "Tensor"
    """(n,) float64, s * w_w: what the loss multiplies the chosen log-ratio by."""
    scaled_rejected: "Tensor"
    """(n,) float64, s * w_l."""


def method_forms(method: Method, balance: Balance | None = None, scale: Scale | None = None) -> Forms:
    """The forms of a named method, or those that the settings put in their place.

    Normalised are the combinations whose weights do not keep DPO's magnitude by themselves:
    `inverse` without a scale, and a `harmonic` scale without `inverse`.
    """
    facts = METHODS[method]
    forms = (balance or facts.balance, scale or facts.scale)
    steady = forms in {("none", "none"), ("softmax", "none"), ("inverse", "harmonic")} or forms[1] == "norm"
    return Forms(*forms, normalise=not steady)


def balance_weights(
    mi_chosen: "Tensor",
    mi_rejected: "Tensor",
    *,
    forms: Forms,
    mi_floor: float,
    tau: float,
    mean_over: "Tensor | None" = None,
) -> Weights:
    """Weights of pairs from the mutual information of their two sides.

    Args:
        mi_chosen: (n,) nats a token, finite, may be negative.
        mi_rejected: (n,) likewise.
        forms: which balance weight and scaling factor.
        mi_floor: smallest I that a form divides by.
        tau: temperature of `softmax`, in nats a token.
        mean_over: (n,) bool, the pairs whose mean is 1 under `normalise` (the training split); all by default.

    Returns:
        Positive, finite float64 weights.

    Raises:
        ValueError: shapes differ, or an I is not finite.
    """
    import torch  # seconds, which the SQL below does without

    if mi_chosen.shape != mi_rejected.shape:
        raise ValueError(f"mi_chosen has shape {tuple(mi_chosen.shape)}, mi_rejected {tuple(mi_rejected.shape)}")
    mi_w, mi_l = mi_chosen.detach().double(), mi_rejected.detach().double()
    if not (mi_w.isfinite().all() and mi_l.isfinite().all()):
        raise ValueError("mutual information must be finite")
    floor_w, floor_l = mi_w.clamp_min(mi_floor), mi_l.clamp_min(mi_floor)
    one = torch.ones_like(mi_w)
    if forms.balance == "inverse":
        chosen, rejected = 1 / floor_w, 1 / floor_l
    elif forms.balance == "softmax":
        # 2*sigmoid of each sign rather than 2 - w: positive even where the other rounds to 2.
        lean = ((mi_l - mi_w) / tau).clamp(-_STEEPEST, _STEEPEST)
        chosen, rejected = 2 * torch.sigmoid(lean), 2 * torch.sigmoid(-lean)
    else:
        chosen, rejected = one, one
    # Ratios to the larger side: sums and squares of them neither overflow nor vanish.
    top = torch.maximum(floor_w, floor_l)
    ratio_w, ratio_l = floor_w / top, floor_l / top
    scaled: tuple[Tensor, Tensor] | None = None
    if forms.scale == "harmonic":
        # 2 / (1/I^_w + 1/I^_l)
        scale = top * (2 * ratio_w * ratio_l / (ratio_w + ratio_l))
        if forms.balance == "inverse":
            # s * w_w = 2 I^_l / (I^_w + I^_l): exactly 1 for equal I, which makes a balanced pair DPO to the last bit.
            scaled = (2 * ratio_l / (ratio_w + ratio_l), 2 * ratio_w / (ratio_w + ratio_l))
    elif forms.scale == "norm":
        scale = 2**0.5 / torch.hypot(chosen, rejected)
        if forms.balance == "inverse":
            shrink = 2**0.5 / torch.hypot(ratio_w, ratio_l)
            scaled = (shrink * ratio_l, shrink * ratio_w)
    else:
        scale = one
    scaled = scaled or (scale * chosen, scale * rejected)
    if forms.normalise:
        kept = torch.ones_like(one, dtype=torch.bool) if mean_over is None else mean_over
        mean = ((scaled[0] + scaled[1]) / 2)[kept].mean()
        scale, scaled = scale / mean, (scaled[0] / mean, scaled[1] / mean)
    return Weights(chosen, rejected, scale, *scaled)


_STEEPEST = 700.0
"""sigmoid(-700) is about 1e-304, still positive in float64."""


def weights_sql(*, forms: Forms, mi_floor: float, tau: float) -> str:
    """The same weights as a DuckDB select list: `weight_chosen, weight_rejected, scale`.

    Reads the columns `mi_chosen`, `mi_rejected` and `split`; the mean under `normalise` is over the
    rows whose split is `train`.
    """
    floor_w, floor_l = f"greatest(mi_chosen, {mi_floor!r})", f"greatest(mi_rejected, {mi_floor!r})"
    if forms.balance == "inverse":
        chosen, rejected = f"1 / {floor_w}", f"1 / {floor_l}"
    elif forms.balance == "softmax":
        lean = f"greatest(least((mi_rejected - mi_chosen) / {tau!r}, {_STEEPEST}), -{_STEEPEST})"
        chosen, rejected = f"2 / (1 + exp(-{lean}))", f"2 / (1 + exp({lean}))"
    else:
        chosen, rejected = "1.0::double", "1.0::double"
    if forms.scale == "harmonic":
        scale = f"2 / (1 / {floor_w} + 1 / {floor_l})"
    elif forms.scale == "norm":
        scale = f"sqrt(2) / sqrt(({chosen}) ** 2 + ({rejected}) ** 2)"
    else:
        scale = "1.0::double"
    if forms.normalise:
        mean = f"avg(({scale}) * (({chosen}) + ({rejected})) / 2) filter (split = 'train') over ()"
        scale = f"({scale}) / ({mean})"
    return f"{chosen} as weight_chosen, {rejected} as weight_rejected, {scale} as scale"
