"""The suites.  Each expectation carries its rule and, as its note, what it means.

Frames come with a column `row`, the position that a failure is reported by.
"""

from collections.abc import Sequence
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe

from bdpo.schemas import DriftLimits, PairSetLimits

Expectation = Any

_SCORES = ("ref_chosen_logps", "ref_rejected_logps", "null_chosen_logps", "null_rejected_logps")


def raw_pairs(*, max_chars: int) -> gx.ExpectationSuite:
    """Row rules on what `checks` measured of each candidate: no column holds its text."""
    expectations = [
        _is_never("blank_prompt", "blank_prompt", "the user's last turn holds no visible character"),
        _is_never("blank_chosen", "blank_chosen", "the chosen response holds no visible character"),
        _is_never("blank_rejected", "blank_rejected", "the rejected response holds no visible character"),
        _is_never("identical_sides", "identical_sides", "the two responses are the same"),
        gxe.ExpectColumnValuesToBeBetween(
            column="num_chars",
            max_value=max_chars,
            **_rule("over_long", f"prompt and longer response together exceed {max_chars} characters"),
        ),
    ]
    for side in ("prompt", "chosen", "rejected"):
        meaning = f"`{side}` holds a control character other than tab and line ends"
        expectations.append(_is_never(f"control_in_{side}", "control_character", meaning))
    return _suite("raw_pairs", expectations)


def pair_set(limits: PairSetLimits) -> gx.ExpectationSuite:
    """Set rules on one row: `pairs, quarantined_fraction, unsafe_rejected_fraction, median_response_chars`."""
    least, most = limits.min_unsafe_rejected_fraction, limits.max_unsafe_rejected_fraction
    shortest, longest = limits.min_median_response_chars, limits.max_median_response_chars
    return _suite(
        "pair_set",
        [
            gxe.ExpectColumnValuesToBeBetween(
                column="pairs", min_value=limits.min_pairs, **_rule("number of pairs", f"at least {limits.min_pairs}")
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="quarantined_fraction",
                max_value=limits.max_quarantined_fraction,
                **_rule("share of quarantined rows", f"at most {limits.max_quarantined_fraction:g}"),
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="unsafe_rejected_fraction",
                min_value=least,
                max_value=most,
                **_rule("share of pairs whose rejected response is labelled unsafe", f"{least:g} to {most:g}"),
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="median_response_chars",
                min_value=shortest,
                max_value=longest,
                **_rule(
                    "median response length in characters",
                    f"at least {shortest}" if longest is None else f"{shortest} to {longest}",
                ),
            ),
        ],
    )


def pair_drift(limits: DriftLimits) -> gx.ExpectationSuite:
    """Set rules on one row: `response_length_ks, unsafe_rejected_change, category_psi`."""
    rules = {
        "response_length_ks": "Kolmogorov-Smirnov distance of response lengths from the previous artifact",
        "unsafe_rejected_change": "change of the share of pairs whose rejected response is labelled unsafe",
        "category_psi": "population stability index of the categories against the previous artifact",
    }
    return _suite(
        "pair_drift",
        [
            gxe.ExpectColumnValuesToBeBetween(
                column=column,
                max_value=most,
                **_rule(rule, f"at most {most:g}"),
            )
            for column, rule in rules.items()
            for most in [getattr(limits, f"max_{column}")]
        ],
    )


def scored_pairs() -> gx.ExpectationSuite:
    """Row rules on scored pairs: log-probs are there, finite and not positive; responses have tokens."""
    expectations: list[Expectation] = []
    for column in _SCORES:
        expectations += [
            gxe.ExpectColumnValuesToNotBeNull(column=column, **_rule("missing_score", f"`{column}` is missing or NaN")),
            gxe.ExpectColumnValuesToBeBetween(
                column=column,
                min_value=-1e300,
                max_value=0.0,
                **_rule("score_out_of_range", f"`{column}` is positive or not finite"),
            ),
        ]
    for column in ("chosen_tokens", "rejected_tokens"):
        expectations.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=column, min_value=1, **_rule("no_tokens", f"`{column}` counts no tokens")
            )
        )
    return _suite("scored_pairs", expectations)


def evaluation_results() -> gx.ExpectationSuite:
    """Row rules on the figures of an evaluation, one of a model a row; what was not scored has no value."""
    expectations: list[Expectation] = []
    for column in ("value", "low", "high", "p_value", "p_adjusted"):
        expectations.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=column, min_value=0, max_value=1, **_rule("no_share", f"`{column}` is not a number from 0 to 1")
            )
        )
    for column in ("n", "successes", "unscored", "difference_n"):
        expectations.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=column, min_value=0, **_rule("no_count", f"`{column}` is a negative count")
            )
        )
    for column in ("difference", "difference_low", "difference_high"):
        expectations.append(
            gxe.ExpectColumnValuesToBeBetween(
                column=column,
                min_value=-1,
                max_value=1,
                **_rule("no_change", f"`{column}` is not a difference of two shares"),
            )
        )
    for larger, smaller in (
        ("n", "successes"),
        ("n", "difference_n"),
        ("value", "low"),
        ("high", "value"),
        ("difference", "difference_low"),
        ("difference_high", "difference"),
    ):
        expectations.append(
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A=larger,
                column_B=smaller,
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                **_rule("out_of_order", f"`{smaller}` is above `{larger}`"),
            )
        )
    return _suite("evaluation_results", expectations)


def _suite(name: str, expectations: Sequence[Expectation]) -> gx.ExpectationSuite:
    return gx.ExpectationSuite(name=name, expectations=list(expectations))


def _is_never(column: str, rule: str, meaning: str) -> Expectation:
    return gxe.ExpectColumnValuesToBeInSet(column=column, value_set=[False], **_rule(rule, meaning))


def _rule(rule: str, meaning: str) -> dict[str, Any]:
    return {"notes": meaning, "meta": {"rule": rule}}
