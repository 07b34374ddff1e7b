"""PKU-SafeRLHF: two responses, each labelled safe or not, and which is better and which safer."""

from collections.abc import Mapping
from typing import Any

from bdpo.data.formats.fields import boolean, optional_boolean, required, text
from bdpo.data.formats.turns import user
from bdpo.data.rows import Candidate, RowProblem

PKU_COLUMNS = (
    "prompt",
    "response_0",
    "response_1",
    "is_response_0_safe",
    "is_response_1_safe",
    "better_response_id",
    "safer_response_id",
)
SINGLE_COLUMNS = ("prompt", "response_0", "response_1", "better_response_id")
"""Those of PKU-SafeRLHF-single-dimension, which has none of the others."""


def parse_pku(row: Mapping[str, Any]) -> Candidate:
    """PKU-SafeRLHF (PKU-Alignment/PKU-SafeRLHF): two responses with a safety label each, a safer and a better one.

    Where one response is safe and the other is not, the safe one is chosen; where both are safe, the
    better; where neither is, the safer.

    Raises:
        RowProblem: a field is missing or has another type.
    """
    better, safer = _side(row, "better_response_id"), _side(row, "safer_response_id")
    safe = boolean(row, "is_response_0_safe"), boolean(row, "is_response_1_safe")
    return _pair(row, safe.index(True) if safe[0] != safe[1] else better if safe[0] else safer)


def parse_pku_safer(row: Mapping[str, Any]) -> Candidate:
    """PKU-SafeRLHF by `safer_response_id` alone; the safety labels may be missing.

    Raises:
        RowProblem: a field is missing or has another type, or the safer response is the only one labelled
            unsafe (`contradictory_labels`).
    """
    safer, safe = _side(row, "safer_response_id"), _safe(row)
    if safe[1 - safer] and safe[safer] is False:
        raise RowProblem("contradictory_labels", "the safer response is labelled unsafe and the other one safe")
    return _pair(row, safer)


def parse_pku_better(row: Mapping[str, Any]) -> Candidate:
    """PKU-SafeRLHF by `better_response_id` alone, whatever is safe; the safety labels may be missing.

    So they are in PKU-Alignment/PKU-SafeRLHF-single-dimension on the hub.

    Raises:
        RowProblem: a field is missing or has another type.
    """
    return _pair(row, _side(row, "better_response_id"))


def _safe(row: Mapping[str, Any]) -> tuple[bool | None, bool | None]:
    return optional_boolean(row, "is_response_0_safe"), optional_boolean(row, "is_response_1_safe")


def _pair(row: Mapping[str, Any], chosen: int) -> Candidate:
    prompt = text(row, "prompt")
    responses = text(row, "response_0"), text(row, "response_1")
    safe = _safe(row)
    return Candidate(
        prompt=user(prompt),
        chosen=responses[chosen],
        rejected=responses[1 - chosen],
        category=_harm(row.get(f"response_{1 - chosen}_harm_category")),
        chosen_safe=safe[chosen],
        rejected_safe=safe[1 - chosen],
        meta={name: value for name, value in row.items() if name not in ("prompt", "response_0", "response_1")},
    )


def _harm(labels: Any) -> str | None:
    """The first harm of an object of harms that are true or false, which the data set's newer versions have."""
    harms = labels if isinstance(labels, dict) else {}
    return next((str(name) for name, label in harms.items() if label is True), None)


def _side(row: Mapping[str, Any], name: str) -> int:
    value = required(row, name)
    if value in (0, 1, "0", "1", "0.0", "1.0") and not isinstance(value, bool):
        return int(float(value))
    raise RowProblem("wrong_type", f"`{name}` is neither 0 nor 1")
