"""The shapes of preference data, each with rows worked by hand."""

import json
import math
from decimal import Decimal
from typing import Any

import pytest

from bdpo.data.formats import detect_format
from bdpo.data.formats.alpaca import parse_alpaca
from bdpo.data.formats.fields import check_text_only
from bdpo.data.formats.hh import parse_hh
from bdpo.data.formats.mapped import parse_mapped
from bdpo.data.formats.pku import parse_pku, parse_pku_better, parse_pku_safer
from bdpo.data.formats.preference import parse_preference
from bdpo.data.formats.sharegpt import parse_sharegpt
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

SINGLE = {
    "prompt": "Q",
    "response_0": "zero",
    "response_1": "one",
    "prompt_source": "x",
    "response_0_source": "m",
    "response_1_source": "m",
    "better_response_id": 1,
    "prompt_sha256": "0",
    "response_0_sha256": "0",
    "response_1_sha256": "0",
}
"""As PKU-SafeRLHF-single-dimension has them."""


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
    indented = {side: json.dumps(said("Q", side), indent=1) for side in ("chosen", "rejected")}
    assert detect_format(indented) == "preference"


def test_the_newer_formats_are_found_by_their_columns() -> None:
    turn = {"from": "gpt", "value": "a"}
    scores = {"score_chosen": 2.0, "score_rejected": 1.0}
    sides = {"chosen": said("Q", "a"), "rejected": said("Q", "b")}
    assert detect_format({"conversations": [], "chosen": turn, "rejected": turn}) == "sharegpt"
    assert detect_format({"messages": [], "chosen": said("", "a")[1], "rejected": said("", "b")[1]}) == "sharegpt"
    assert detect_format({"chosen": turn, "rejected": turn}) is None
    assert detect_format({"instruction": "I", "input": "", "chosen": "a", "rejected": "b"}) == "alpaca"
    assert detect_format({"prompt": "Q", **sides, **scores}) == "ultrafeedback"
    assert detect_format({**sides, **scores}) == "ultrafeedback"
    assert detect_format({**sides, "score_chosen": 2.0}) == "preference"
    assert detect_format({"prompt": "Q", "chosen": "a", "rejected": "b", **scores}) == "preference"
    as_text = {side: json.dumps(messages) for side, messages in sides.items()}
    assert detect_format({"prompt": "Q", **as_text, **scores}) == "ultrafeedback"
    assert detect_format(as_text) == "preference"
    answers = {"chosen": '[{"name": "a"}]', "rejected": "b"}  # JSON that was asked for, and no messages
    assert detect_format({"instruction": "I", "input": "", **answers}) == "alpaca"
    assert detect_format({"prompt": "Q", **answers, **scores}) == "preference"
    assert detect_format({"prompt": "Q", "response": "a", "is_safe": True, "category": {}}) == "beavertails"
    assert detect_format(SINGLE) == "pku_better"
    for other in ("is_response_0_safe", "safer_response_id"):
        assert detect_format(SINGLE | {other: 1}) is None
    assert detect_format(PKU | {"response": "a", "is_safe": True, "category": {}}) == "pku"


def test_hh_of_two_turns() -> None:
    start = "\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Q: a\n\nb"
    row = {"chosen": f"{start}\n\nAssistant: Good.", "rejected": f"{start}\n\nAssistant: Bad.\n"}
    assert parse_hh(row) == Candidate(said("Hi", "Yes?", "Q: a\n\nb"), "Good.", "Bad.")
    for other in ({side: text.replace("\n", "\r\n") for side, text in row.items()},
                  {side: text.strip() for side, text in row.items()}):  # fmt: skip
        assert detect_format(other) == "hh"
        assert parse_hh(other) == parse_hh(row)


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
        ("\n\nHuman: Q\n\nAssistant: Human: a", "\n\nHuman: Q\n\nAssistant: b", "malformed_transcript"),
        ("\n\nHuman: Q\n\nAssistant: a", "\n\nHuman: Q\n\nAssistant:  Assistant: b", "malformed_transcript"),
        (None, "\n\nHuman: Q\n\nAssistant: b", "missing_field"),
        (7, "\n\nHuman: Q\n\nAssistant: b", "wrong_type"),
    ],
)
def test_hh_that_is_refused(chosen: Any, rejected: Any, rule: str) -> None:
    assert refused(parse_hh, {"chosen": chosen, "rejected": rejected}) == rule


def test_the_answer_of_a_transcript_does_not_begin_with_a_speaker() -> None:
    """Elsewhere such names may stand: in an earlier turn, which was said so and is not learned, or within an answer."""
    start = "\n\nHuman: Q\n\nAssistant: Human: a\n\nHuman: R\n\nAssistant: "
    pair = parse_hh({"chosen": f"{start}Humans: b", "rejected": f"{start}c\nHuman: d"})
    assert (pair.prompt, pair.chosen, pair.rejected) == (said("Q", "Human: a", "R"), "Humans: b", "c\nHuman: d")
    copy = {"prompt": start, "chosen": "b", "rejected": " Human: c"}
    assert refused(parse_preference, copy) == "malformed_transcript"
    assert refused(parse_preference, copy | {"chosen": "Human: b", "rejected": "c"}) == "malformed_transcript"
    assert refused(parse_preference, copy | {"prompt": "Write a dialogue."}) == "malformed_transcript"
    assert refused(parse_preference, copy | {"prompt": said("Q")}) == "malformed_transcript"


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
    for both in (True, False):
        alike = parse_pku_safer(row | {"is_response_0_safe": both, "is_response_1_safe": both})
        assert (alike.chosen, alike.chosen_safe, alike.rejected_safe) == ("one", both, both)
    assert refused(parse_pku_better, row | {"better_response_id": 2}) == "wrong_type"


def test_pku_by_one_id_needs_no_safety_labels() -> None:
    better = parse_pku_better(SINGLE)
    assert (better.chosen, better.rejected, better.chosen_safe, better.rejected_safe) == ("one", "zero", None, None)
    assert better.meta["response_0_source"] == "m"
    safer_row = SINGLE | {"safer_response_id": 0}
    safer = parse_pku_safer(safer_row)
    assert (safer.chosen, safer.rejected, safer.chosen_safe, safer.rejected_safe) == ("zero", "one", None, None)
    half = parse_pku_safer(safer_row | {"is_response_1_safe": True, "is_response_0_safe": None})
    assert (half.chosen, half.chosen_safe, half.rejected_safe) == ("zero", None, True)
    assert refused(parse_pku_better, SINGLE | {"is_response_0_safe": "maybe"}) == "wrong_type"
    assert refused(parse_pku_safer, SINGLE) == "missing_field"
    assert refused(parse_pku, safer_row) == "missing_field"


def test_pku_keeps_the_safety_of_both_sides() -> None:
    pair = parse_pku(PKU | {"is_response_1_safe": False, "severity": 2})
    assert (pair.chosen_safe, pair.rejected_safe) == (True, False)
    assert pair.meta["severity"] == 2
    assert not {"prompt", "response_0", "response_1"} & pair.meta.keys()


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


def test_a_prompt_that_is_a_transcript_up_to_the_answer_is_its_turns() -> None:
    row = {"prompt": "\n\nHuman: Q\n\nAssistant: A\n\nHuman: R\n\nAssistant:", "chosen": " a", "rejected": " b\n"}
    assert detect_format(row) == "preference"
    turns = [*said("Q", "A"), *said("R")]
    assert parse_preference(row) == Candidate(turns, "a", "b")
    for quoted in ("What follows\n\nHuman: Q\n\nAssistant:", "Humans: Q\n\nHuman: R", "Q, Human: R\nAssistant: A"):
        assert parse_preference(row | {"prompt": quoted}) == Candidate(said(quoted), " a", " b\n")


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected"),
    [
        ("\n\nHuman: Q", "\n\nAssistant: a", "\n\nAssistant: b"),  # as TRL's script once cut them
        ("Human: Q", "Assistant: a", "\n\nAssistant: b"),
        ("Human: Q\n\nAssistant:", "a", "b"),
        ("\n\nHuman: Q", " a", " b"),
        ("\n\n\nHuman: Q\n\nAssistant: ", "a", "b"),
        ("Human: Q\n\nAssistant:", "Human: Q\n\nAssistant: a", "\n\nHuman: Q\n\nAssistant: b"),
    ],
)
@pytest.mark.parametrize("earlier", ["", "Human: P\n\nAssistant: A\n\n"])
def test_a_transcript_cut_in_another_way_is_its_turns_too(
    earlier: str, prompt: str, chosen: str, rejected: str
) -> None:
    texts = [text.replace("Human: Q", f"{earlier}Human: Q") for text in (prompt, chosen, rejected)]
    row = dict(zip(("prompt", "chosen", "rejected"), texts, strict=True))
    assert parse_preference(row) == Candidate(said("P", "A", "Q") if earlier else said("Q"), "a", "b")
    crlf = {name: text.replace("\n", "\r\n") for name, text in row.items()}
    assert parse_preference(crlf) == parse_preference(row)


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "rule"),
    [
        ("\n\nHuman: Q\n\nAssistant: A", " a", " b", "roles_do_not_alternate"),
        ("\n\nAssistant: A\n\nHuman: Q\n\nAssistant:", " a", " b", "roles_do_not_alternate"),
        ("\n\nHuman: Q\n\nAssistant:", "\n\nAssistant: a", "\n\nAssistant: b", "malformed_transcript"),
        ("\n\nHuman: Q", "\n\nAssistant: a", " b", "malformed_transcript"),
        ("\n\nHuman: Q", "\n\nAssistant: Human: a", "\n\nAssistant: b", "malformed_transcript"),
        ("Q", "\n\nAssistant: a", "\n\nAssistant: b", "malformed_transcript"),
        ("Q", "Assistant: a", "\n\nHuman: b", "malformed_transcript"),
        ("Human: Q", "a", "b", "malformed_transcript"),
    ],
)
def test_a_transcript_of_which_it_cannot_be_told_who_speaks_is_refused(
    prompt: str, chosen: str, rejected: str, rule: str
) -> None:
    assert refused(parse_preference, {"prompt": prompt, "chosen": chosen, "rejected": rejected}) == rule


@pytest.mark.parametrize(
    "prompt", ["\n\nHuman: Q\n\nAssistant:", "\n\nHuman: Q\n\nAssistant: A\n\nHuman: R\n\nAssistant:", "Q ", "R\n"]
)
def test_whole_transcripts_beside_a_prompt_are_no_answers(prompt: str) -> None:
    start = "\n\nHuman: Q\n\nAssistant: A\n\nHuman: R\n\nAssistant:"
    row = {"prompt": prompt, "chosen": f"{start} a", "rejected": f"{start} b", "category": "x"}
    assert parse_preference(row) == Candidate([*said("Q", "A"), *said("R")], "a", "b", "x")
    assert refused(parse_preference, row | {"prompt": "A"}) == "prompts_differ"
    assert refused(parse_preference, row | {"rejected": "\n\nHuman: Q\n\nAssistant: b"}) == "prompts_differ"
    assert refused(parse_preference, row | {"prompt": None}) == "missing_field"
    assert refused(parse_preference, row | {"rejected": "b"}) == "malformed_transcript"


@pytest.mark.parametrize("turns", [["Q", "A", "R\n"], ["Q"]])
def test_a_text_beside_whole_conversations_is_what_they_begin_or_end_with(turns: list[str]) -> None:
    """White space around it does not count; what the conversations say is read."""
    sides = {"chosen": [SYSTEM, *said(*turns, "a")], "rejected": [SYSTEM, *said(*turns, "b")]}
    whole = Candidate([SYSTEM, *said(*turns)], "a", "b")
    for prompt in (f" {turns[0]}\n", turns[-1].strip()):
        assert parse_preference(sides | {"prompt": prompt}) == whole
    for other in ("A", f"{turns[-1]} x", "q"):
        assert refused(parse_preference, sides | {"prompt": other}) == "prompts_differ"
    if len(turns) > 1:
        last = [{"role": "user", "content": turns[-1]}]
        assert refused(parse_preference, sides | {"prompt": last}) == "prompts_differ"


def test_a_gap_as_pandas_writes_it_is_a_label_that_is_missing() -> None:
    row = {"prompt": "Q", "chosen": "a", "rejected": "b"}
    gaps = {"category": math.nan, "chosen_safe": math.nan, "rejected_safe": None}
    assert parse_preference(row | gaps) == Candidate(said("Q"), "a", "b")
    apart = {"prompt": math.nan, "chosen": said("Q", "a"), "rejected": said("Q", "b")}
    assert parse_preference(apart) == Candidate(said("Q"), "a", "b")
    assert parse_alpaca({"instruction": "Q", "chosen": "a", "rejected": "b", "history": math.nan}).prompt == said("Q")


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


def test_a_category_that_is_no_text_and_that_nobody_named_is_one_more_field() -> None:
    row = {"prompt": "Q", "chosen": "a", "rejected": "b", "category": {"n": 3}}
    assert parse_preference(row) == Candidate(said("Q"), "a", "b", meta={"category": {"n": 3}})
    asked = {"instruction": "Q", "chosen": "a", "rejected": "b", "category": 3}
    assert parse_alpaca(asked) == Candidate(said("Q"), "a", "b", meta={"category": 3})


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"prompt": "Q", "chosen": "a"}, "missing_field"),
        ({"prompt": 3, "chosen": "a", "rejected": "b"}, "wrong_type"),
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


SYSTEM = {"role": "system", "content": "Be brief."}


def test_pku_takes_its_category_from_the_harms_of_the_rejected_response() -> None:
    harms = {"response_0_harm_category": {"Drugs": True}, "response_1_harm_category": {"Fraud": False, "Theft": True}}
    assert parse_pku(PKU | harms).category == "Drugs"
    assert parse_pku(PKU | harms | {"better_response_id": 0}).category == "Theft"
    assert parse_pku(PKU | harms | {"response_0_harm_category": {"Drugs": False}}).category is None
    assert parse_pku(PKU | {"response_0_harm_category": "{'Drugs': True}"}).category is None
    assert parse_pku(PKU | harms).meta["response_1_harm_category"] == {"Fraud": False, "Theft": True}


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({"instruction": "I", "input": "x"}, said("I\nx")),
        ({"instruction": "I", "input": ""}, said("I")),
        ({"instruction": "I"}, said("I")),
        ({"instruction": None, "input": "x"}, said("x")),
        ({"instruction": "", "input": "x"}, said("x")),
        ({"instruction": "", "input": None}, said("")),  # and refused as a blank prompt
        ({"instruction": "I", "history": [["Q", "a"]]}, said("Q", "a", "I")),
        ({"instruction": "I", "history": []}, said("I")),
        ({"instruction": "I", "history": ""}, said("I")),  # an empty field of a CSV file
        ({"instruction": "I", "system": "Be brief."}, [SYSTEM, *said("I")]),
    ],
)
def test_alpaca_joins_what_llama_factory_joins(fields: dict[str, Any], prompt: list[dict[str, str]]) -> None:
    assert parse_alpaca(fields | {"chosen": "a", "rejected": "b"}) == Candidate(prompt, "a", "b")


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"instruction": None}, "missing_field"),
        ({"instruction": None, "input": ""}, "missing_field"),
        ({"instruction": ["I"]}, "wrong_type"),
        ({"instruction": "I", "history": "Q, a"}, "wrong_type"),
        ({"instruction": "I", "history": [["Q"]]}, "wrong_type"),
        ({"instruction": "I", "history": [["Q", None]]}, "wrong_type"),
    ],
)
def test_alpaca_that_is_refused(fields: dict[str, Any], rule: str) -> None:
    assert refused(parse_alpaca, fields | {"chosen": "a", "rejected": "b"}) == rule


def human(*turns: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": turn} for i, turn in enumerate(turns)]


SHAREGPT: dict[str, Any] = {
    "conversations": human("Q", "a", "R"),
    "chosen": {"from": "gpt", "value": "good"},
    "rejected": {"from": "gpt", "value": "bad"},
}
OPENAI: dict[str, Any] = {"messages": said("Q"), "chosen": said("", "good")[1], "rejected": said("", "bad")[1]}


def test_sharegpt_in_the_words_of_sharegpt_and_of_openai() -> None:
    assert parse_sharegpt(SHAREGPT) == Candidate(said("Q", "a", "R"), "good", "bad")
    assert parse_sharegpt(OPENAI) == Candidate(said("Q"), "good", "bad")
    assert parse_sharegpt(OPENAI | {"system": "Be brief."}).prompt == [SYSTEM, *said("Q")]
    own = SHAREGPT | {"conversations": [{"from": "system", "value": "Own."}, *human("Q")], "system": "Be brief."}
    assert [message["content"] for message in parse_sharegpt(own).prompt] == ["Own.", "Q"]


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"conversations": human("Q", "a")}, "roles_do_not_alternate"),
        ({"conversations": human("Q")[:0]}, "wrong_type"),
        ({"conversations": [*human("Q"), *human("R")]}, "roles_do_not_alternate"),
        ({"conversations": [{"from": "bot", "value": "Q"}]}, "unknown_role"),
        ({"conversations": [*human("Q"), {"from": "function_call", "value": "{}"}]}, "tool_turn"),
        ({"conversations": [*human("Q"), {"from": "observation", "value": "3"}]}, "tool_turn"),
        ({"chosen": {"from": "human", "value": "good"}}, "does_not_end_with_assistant"),
        ({"chosen": {"from": "function_call", "value": "{}"}}, "tool_turn"),
        ({"chosen": {"from": "gpt", "value": None}}, "wrong_type"),
        ({"chosen": "good"}, "wrong_type"),
        ({"conversations": None}, "missing_field"),
        ({"system": 3}, "wrong_type"),
    ],
)
def test_sharegpt_that_is_refused(changes: dict[str, Any], rule: str) -> None:
    assert refused(parse_sharegpt, SHAREGPT | changes) == rule


def test_a_system_field_opens_the_prompt_of_a_preference_row() -> None:
    assert parse_preference({"system": "Be brief.", "prompt": "Q", "chosen": "a", "rejected": "b"}) == Candidate(
        [SYSTEM, *said("Q")], "a", "b"
    )
    own = {"chosen": [SYSTEM, *said("Q", "a")], "rejected": [SYSTEM, *said("Q", "b")]}
    assert parse_preference(own | {"system": "Other."}).prompt == [SYSTEM, *said("Q")]
    assert parse_preference(own | {"prompt": "Q"}).prompt == [SYSTEM, *said("Q")]
    assert refused(parse_preference, own | {"rejected": said("Q", "b")}) == "prompts_differ"
    columns = {"system": "rules", "prompt": "question", "chosen": "chosen", "rejected": "rejected"}
    mapped = parse_mapped({"rules": "Be brief.", "question": "Q", "chosen": "a", "rejected": "b"}, columns)
    assert (mapped.prompt, mapped.meta) == ([SYSTEM, *said("Q")], {})


def parts(*texts: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text} for text in texts]


def test_a_message_may_come_in_parts_of_text() -> None:
    question, answer = {"role": "user", "content": parts("Q", "R")}, {"role": "assistant", "content": parts("a")}
    assert parse_preference({"prompt": [question], "chosen": [answer], "rejected": said("", "b")[1:]}) == Candidate(
        said("QR"), "a", "b"
    )


@pytest.mark.parametrize(
    ("message", "rule"),
    [
        ({"role": "user", "content": [{"type": "image"}, *parts("Q")]}, "not_text"),
        ({"role": "user", "content": ["Q"]}, "not_text"),
        ({"role": "user", "content": [{"type": "text"}]}, "not_text"),
        ({"role": "user", "content": []}, "wrong_type"),
        ({"role": "user", "content": None}, "wrong_type"),
        ({"role": "tool", "content": "3"}, "tool_turn"),
        ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, "tool_turn"),
        ({"role": "assistant", "content": "a", "tool_calls": [{"id": "1"}]}, "tool_turn"),
        ({"role": "moderator", "content": "Q"}, "unknown_role"),
        (None, "wrong_type"),
    ],
)
def test_messages_that_are_no_talk(message: Any, rule: str) -> None:
    assert refused(parse_preference, {"prompt": [message], "chosen": "a", "rejected": "b"}) == rule


def test_calls_that_are_none_are_no_calls() -> None:
    message = {"role": "user", "content": "Q", "tool_calls": None, "function_call": None}
    assert parse_preference({"prompt": [message], "chosen": "a", "rejected": "b"}).prompt == said("Q")


def test_a_row_of_more_than_text_is_refused() -> None:
    check_text_only({"images": [], "image": None, "tools": "[]", "audios": ""})
    check_text_only({"images": math.nan, "tools": math.nan})  # gaps, as pandas writes them
    for name, rule in (("images", "not_text"), ("image", "not_text"), ("audios", "not_text"), ("tools", "tool_turn")):
        with pytest.raises(RowProblem) as problem:
            check_text_only({name: ["x"]})
        assert problem.value.rule == rule


@pytest.mark.parametrize(
    ("told", "rule"),
    [
        ({"xml_tools": ["x"], "enable_thinking": False}, "tool_turn"),
        ({"python_tools": ["x"]}, "tool_turn"),
        ({"tools": [{"name": "x"}]}, "tool_turn"),
        ({"enable_thinking": True}, "template_settings"),
        ({"custom_instructions": "Be brief."}, "template_settings"),
        ("enable_thinking", "wrong_type"),
    ],
)
def test_a_row_that_wants_the_template_told_more_is_refused(told: Any, rule: str) -> None:
    """As HuggingFaceTB/smoltalk2 has it, which says nothing there for most rows."""
    nothing = {"custom_instructions": "", "enable_thinking": False, "python_tools": [], "xml_tools": None}
    for unsaid in (None, {}, math.nan, nothing):
        check_text_only({"chat_template_kwargs": unsaid})
    with pytest.raises(RowProblem, match="chat_template_kwargs") as problem:
        check_text_only({"chat_template_kwargs": nothing | told if isinstance(told, dict) else told})
    assert problem.value.rule == rule


def test_messages_that_were_written_as_text_are_read_again() -> None:
    """As a CSV file has them; Python's own print of them is refused, and a text that only looks alike stays."""
    sides = {"chosen": json.dumps(said("Q", "a")), "rejected": json.dumps(said("Q", "b"))}
    assert parse_preference(sides | {"prompt": json.dumps(said("Q"))}) == Candidate(said("Q"), "a", "b")
    assert parse_preference(sides | {"prompt": "Q"}) == Candidate(said("Q"), "a", "b")
    indented = {"chosen": json.dumps(said("Q", "a"), indent=2), "rejected": f"\n{json.dumps(said('Q', 'b'))}"}
    assert parse_preference(indented) == Candidate(said("Q"), "a", "b")
    assert (
        refused(parse_preference, {"prompt": "Q", "chosen": str(said("a")), "rejected": str(said("b"))}) == "wrong_type"
    )
    for text in ('[{"role": 1}, "x"]', "[{broken", '[{"a": 1}]'):
        assert parse_preference({"prompt": "Q", "chosen": text, "rejected": "b"}).chosen == text
    assert refused(parse_preference, {"prompt": "Q", "chosen": said("Q", "a"), "rejected": "b"}) == "wrong_type"


@pytest.mark.parametrize(
    ("safe", "better"),
    [
        (True, 1),
        (1, 1),
        (1.0, 1.0),
        (Decimal(1), Decimal("1.0")),
        ("True", "1"),
        ("TRUE", "1"),
        ("1", "1"),
        ("1.0", "1.0"),
    ],
)
def test_labels_as_csv_files_and_columns_with_gaps_have_them(safe: Any, better: Any) -> None:
    row = PKU | {"is_response_0_safe": safe, "is_response_1_safe": safe, "better_response_id": better}
    assert parse_pku(row).chosen == "one"
    for wrong in (0.5, math.nan, "yes", 2, Decimal("0.5")):
        assert refused(parse_pku, row | {"is_response_0_safe": wrong}) == "wrong_type"
        assert refused(parse_pku, row | {"better_response_id": wrong}) == "wrong_type"


def test_a_reason_names_json_not_python() -> None:
    for value, kind in (
        (3, "a number"),
        (Decimal(3), "a number"),
        (True, "true or false"),
        ({}, "an object"),
        ([], "a list"),
        (b"x", "bytes"),
    ):
        with pytest.raises(RowProblem, match=f"^`prompt` is {kind}, not a string$"):
            parse_pku(PKU | {"prompt": value})
