"""The suites.  Each expectation carries its rule and, as its note, what it means.

Frames come with a column `row`, the position that a failure is reported by.
"""

from collections.abc import Sequence
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe

Expectation = Any

_VISIBLE = r"\S"
_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
_SCORES = ("ref_chosen_logps", "ref_rejected_logps", "null_chosen_logps", "null_rejected_logps")


def raw_pairs(*, max_chars: int) -> gx.ExpectationSuite:
    """Row rules on candidates: columns `prompt_text, last_turn, chosen, rejected, num_chars, sides`."""
    expectations = [
        _matches("last_turn", "blank_prompt", _VISIBLE, "the user's last turn holds no visible character"),
        _matches("chosen", "blank_chosen", _VISIBLE, "the chosen response holds no visible character"),
        _matches("rejected", "blank_rejected", _VISIBLE, "the rejected response holds no visible character"),
        gxe.ExpectColumnValuesToBeInSet(
            column="sides", value_set=["different"], **_rule("identical_sides", "the two responses are the same")
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="num_chars",
            max_value=max_chars,
            **_rule("over_long", f"prompt and longer response together exceed {max_chars} characters"),
        ),
    ]
    for column in ("prompt_text", "chosen", "rejected"):
        meaning = f"`{column.removesuffix('_text')}` holds a control character other than tab and line ends"
        expectations.append(
            gxe.ExpectColumnValuesToNotMatchRegex(column=column, regex=_CONTROL, **_rule("control_character", meaning))
        )
    return _suite("raw_pairs", expectations)


def pair_set(*, min_pairs: int, max_quarantined_fraction: float) -> gx.ExpectationSuite:
    """Set rules on one row of counts: `pairs, quarantined_fraction`."""
    return _suite(
        "pair_set",
        [
            gxe.ExpectColumnValuesToBeBetween(
                column="pairs", min_value=min_pairs, **_rule("number of pairs", f"at least {min_pairs}")
            ),
            gxe.ExpectColumnValuesToBeBetween(
                column="quarantined_fraction",
                max_value=max_quarantined_fraction,
                **_rule("share of quarantined rows", f"at most {max_quarantined_fraction:g}"),
            ),
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
                column=column, min_value=1, **_rule("no_tokens", f"`{column}` counts no token")
            )
        )
    return _suite("scored_pairs", expectations)


def _suite(name: str, expectations: Sequence[Expectation]) -> gx.ExpectationSuite:
    return gx.ExpectationSuite(name=name, expectations=list(expectations))


def _matches(column: str, rule: str, regex: str, meaning: str) -> Expectation:
    return gxe.ExpectColumnValuesToMatchRegex(column=column, regex=regex, **_rule(rule, meaning))


def _rule(rule: str, meaning: str) -> dict[str, Any]:
    return {"notes": meaning, "meta": {"rule": rule}}
