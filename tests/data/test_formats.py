"""The shapes of preference data, each with rows worked by hand."""

from typing import Any

import pytest

from bdpo.data.formats import detect_format
from bdpo.data.formats.hh import parse_hh
from bdpo.data.formats.pku import parse_pku, parse_pku_better, parse_pku_safer
from bdpo.data.formats.preference import parse_preference
from bdpo.data.formats.turns import check_roles
from bdpo.data.rows import Candidate, RowProblem

PKU = {
    "prompt": "Q",
    "response_0": "zero",
    "response_1": "one",
    "is_response_0_safe": True,
    "is_response_1_safe": True,
    "better_response_id": 1,
    "safer_response_id": 0,
}


def said(*turns: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


def refused(parse: Any, row: dict[str, Any]) -> str:
    with pytest.raises(RowProblem) as problem:
        check_roles(parse(row).prompt)
    return problem.value.rule


def test_formats_are_found_by_their_columns() -> None:
    assert detect_format(PKU) == "pku"
    assert detect_format({"prompt": "Q", "chosen": "a", "rejected": "b"}) == "preference"
    assert detect_format({"chosen": said("Q", "a"), "rejected": said("Q", "b")}) == "preference"
    assert detect_format({"chosen": "\n\nHuman: Q\n\nAssistant: a", "rejected": "x"}) == "hh"
    assert detect_format({"chosen": "a", "rejected": "b"}) is None
    assert detect_format({"question": "Q"}) is None


def test_the_newer_formats_are_found_by_their_columns() -> None:
    turn = {"from": "gpt", "value": "a"}
    scores = {"score_chosen": 2.0, "score_rejected": 1.0}
    sides = {"chosen": said("Q", "a"), "rejected": said("Q", "b")}
    assert detect_format({"conversations": [], "chosen": turn, "rejected": turn}) == "sharegpt"
    assert detect_format({"chosen": turn, "rejected": turn}) is None
    assert detect_format({"instruction": "I", "input": "", "chosen": "a", "rejected": "b"}) == "alpaca"
    assert detect_format({"prompt": "Q", **sides, **scores}) == "ultrafeedback"
    assert detect_format({"prompt": "Q", "chosen": "a", "rejected": "b", **scores}) == "preference"
    assert detect_format({"prompt": "Q", "response": "a", "is_safe": True, "category": {}}) == "beavertails"
    assert detect_format(PKU | {"response": "a", "is_safe": True, "category": {}}) == "pku"


def test_hh_of_two_turns() -> None:
    start = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Q: a\n\nb"
    row = {"chosen": f"{start}\n\nAssistant: Good.", "rejected": f"{start}\n\nAssistant: Bad.\n"}
    assert parse_hh(row) == Candidate(said("Hi", "Yes?", "Q: a\n\nb"), "Good.", "Bad.")


@pytest.mark.parametrize(
    ("chosen", "rejected", "rule"),
    [
        ("\n\nHuman: Q\n\nAssistant: a", "\n\nHuman: R\n\nAssistant: a", "prompts_differ"),
        ("\n\nHuman: Q", "\n\nHuman: Q", "does_not_end_with_assistant"),
        ("Human: Q", "Human: Q", "malformed_transcript"),
        ("x\n\nHuman: Q\n\nAssistant: a", "\n\nHuman: Q\n\nAssistant: b", "malformed_transcript"),
        (
            "\n\nHuman: Q\n\nHuman: R\n\nAssistant: a",
            "\n\nHuman: Q\n\nHuman: R\n\nAssistant: b",
            "roles_do_not_alternate",
        ),
        ("\n\nAssistant: a", "\n\nAssistant: b", "empty_prompt"),
        (None, "\n\nHuman: Q\n\nAssistant: b", "missing_field"),
        (7, "\n\nHuman: Q\n\nAssistant: b", "wrong_type"),
    ],
)
def test_hh_that_is_refused(chosen: Any, rejected: Any, rule: str) -> None:
    assert refused(parse_hh, {"chosen": chosen, "rejected": rejected}) == rule


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({}, "one"),  # both safe: the better
        ({"better_response_id": 0}, "zero"),
        ({"is_response_1_safe": False}, "zero"),  # one is safe: it, though the other is better
        ({"is_response_0_safe": "false", "better_response_id": "0"}, "one"),  # as CSV has it
        ({"is_response_0_safe": False, "is_response_1_safe": False}, "zero"),  # neither: the safer
    ],
)
def test_pku_prefers_by_safety_first(changes: dict[str, Any], chosen: str) -> None:
    pair = parse_pku(PKU | changes)
    assert pair.prompt == said("Q")
    assert (pair.chosen, pair.rejected) == ((chosen, "one") if chosen == "zero" else (chosen, "zero"))


def test_pku_by_one_id_alone() -> None:
    row = PKU | {"better_response_id": 0, "safer_response_id": 1, "is_response_0_safe": False}
    safer, better = parse_pku_safer(row), parse_pku_better(row)
    assert (safer.chosen, safer.rejected, safer.chosen_safe, safer.rejected_safe) == ("one", "zero", True, False)
    assert (better.chosen, better.rejected, better.chosen_safe, better.rejected_safe) == ("zero", "one", False, True)
    assert refused(parse_pku_safer, row | {"safer_response_id": 0}) == "contradictory_labels"
    assert refused(parse_pku_better, row | {"better_response_id": 2}) == "wrong_type"


def test_pku_keeps_the_safety_of_both_sides() -> None:
    pair = parse_pku(PKU | {"is_response_1_safe": False, "severity": 2})
    assert (pair.chosen_safe, pair.rejected_safe) == (True, False)
    assert pair.meta["severity"] == 2


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"better_response_id": 2}, "wrong_type"),
        ({"better_response_id": True}, "wrong_type"),
        ({"is_response_0_safe": "maybe"}, "wrong_type"),
        ({"response_1": None}, "missing_field"),
    ],
)
def test_pku_that_is_refused(changes: dict[str, Any], rule: str) -> None:
    assert refused(parse_pku, PKU | changes) == rule


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Q", "chosen": "a", "rejected": "b"},
        {"prompt": said("Q"), "chosen": "a", "rejected": "b"},
        {"prompt": said("Q"), "chosen": said("", "a")[1:], "rejected": said("", "b")[1:]},
        {"prompt": "Q", "chosen": said("Q", "a"), "rejected": said("Q", "b")},
        {"chosen": said("Q", "a"), "rejected": said("Q", "b")},
    ],
)
def test_preference_plain_conversational_and_implicit(row: dict[str, Any]) -> None:
    assert parse_preference(row) == Candidate(said("Q"), "a", "b")


def test_preference_keeps_category_labels_and_the_rest() -> None:
    row = {
        "prompt": "Q",
        "chosen": "a",
        "rejected": "b",
        "category": "x",
        "chosen_safe": 1,
        "rejected_safe": "",
        "n": 3,
    }
    assert parse_preference(row) == Candidate(said("Q"), "a", "b", "x", True, None, {"n": 3})


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"prompt": "Q", "chosen": "a"}, "missing_field"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "wrong_type"),
        ({"prompt": "Q", "chosen": "a", "rejected": "b", "category": 3}, "wrong_type"),
        ({"chosen": said("Q"), "rejected": said("Q")}, "does_not_end_with_assistant"),
        ({"chosen": said("Q", "a"), "rejected": said("R", "b")}, "prompts_differ"),
        ({"prompt": "R", "chosen": said("Q", "a"), "rejected": said("Q", "b")}, "prompts_differ"),
        ({"chosen": [{"role": "user"}], "rejected": said("Q", "b")}, "wrong_type"),
        ({"prompt": said("Q", "x"), "chosen": "a", "rejected": "b"}, "roles_do_not_alternate"),
    ],
)
def test_preference_that_is_refused(row: dict[str, Any], rule: str) -> None:
    assert refused(parse_preference, row) == rule


def test_a_system_turn_may_come_first() -> None:
    check_roles([{"role": "system", "content": "s"}, *said("Q", "a", "R")])
    with pytest.raises(RowProblem, match="no user turn"):
        check_roles([{"role": "system", "content": "s"}])
