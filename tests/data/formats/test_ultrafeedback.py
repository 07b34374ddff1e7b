"""Binarized UltraFeedback: the scores decide what is a pair."""

from typing import Any

import pytest

from bdpo.data.formats.ultrafeedback import parse_ultrafeedback
from bdpo.data.rows import Candidate, RowProblem

QUESTION = {"role": "user", "content": "Q"}
ROW: dict[str, Any] = {
    "prompt": "Q",
    "chosen": [QUESTION, {"role": "assistant", "content": "good"}],
    "rejected": [QUESTION, {"role": "assistant", "content": "bad"}],
    "score_chosen": 8.5,
    "score_rejected": 7,
}


def test_the_last_messages_are_the_sides_and_the_scores_are_kept() -> None:
    meta = {"score_chosen": 8.5, "score_rejected": 7}
    assert parse_ultrafeedback(ROW) == Candidate([QUESTION], "good", "bad", meta=meta)
    implicit = {name: value for name, value in ROW.items() if name != "prompt"}  # as trl-lib has it
    assert parse_ultrafeedback(implicit) == Candidate([QUESTION], "good", "bad", meta=meta)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"score_rejected": 8.5}, "tied_scores"),
        ({"score_chosen": 7.0}, "tied_scores"),  # 7.0 and 7 are one number
        ({"score_rejected": 9}, "inverted_scores"),
        ({"score_chosen": None}, "missing_field"),
        ({"score_chosen": "6.5", "score_rejected": "7"}, "inverted_scores"),  # as CSV has them
        ({"score_chosen": "good"}, "wrong_type"),
        ({"score_chosen": "nan"}, "wrong_type"),
        ({"score_chosen": True}, "wrong_type"),
        ({"score_chosen": float("nan")}, "wrong_type"),
        ({"chosen": [QUESTION]}, "does_not_end_with_assistant"),
        ({"prompt": "R"}, "prompts_differ"),
    ],
)
def test_ultrafeedback_that_is_refused(changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(RowProblem) as problem:
        parse_ultrafeedback(ROW | changes)
    assert problem.value.rule == rule
