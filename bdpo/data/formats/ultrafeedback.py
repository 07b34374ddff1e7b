"""UltraFeedback, binarized: two conversations, each with the score that a judge gave it."""

from collections.abc import Mapping
from typing import Any

from bdpo.data.formats.fields import number
from bdpo.data.formats.preference import parse_preference
from bdpo.data.rows import Candidate, RowProblem


def parse_ultrafeedback(row: Mapping[str, Any]) -> Candidate:
    """A preference row with `score_chosen` and `score_rejected`; the better side has the higher score.

    The columns are those of HuggingFaceH4/ultrafeedback_binarized on the hub, splits `train_prefs` and `test_prefs`,
    and of trl-lib/ultrafeedback_binarized, which has no `prompt` beside what both sides begin with.

    Raises:
        RowProblem: as for `parse_preference`; a score is missing or not a number; the scores are
            equal (`tied_scores`), or say that the rejected side is better (`inverted_scores`).
    """
    candidate = parse_preference(row)
    chosen, rejected = number(row, "score_chosen"), number(row, "score_rejected")
    if chosen == rejected:
        raise RowProblem("tied_scores", "both sides have the same score")
    if chosen < rejected:
        raise RowProblem("inverted_scores", "`score_rejected` is above `score_chosen`")
    return candidate
