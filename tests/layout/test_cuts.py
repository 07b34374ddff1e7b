"""How many pairs lose text, counted by hand; the tiny tokenizer has one token a byte."""

import pytest

from bdpo.layout.chat import TokenizedPair, tokenize_pairs
from bdpo.layout.cuts import Cuts
from bdpo.layout.rendering import Message
from tests.tiny import CHATML, tiny_tokenizer

SCAFFOLD = len("_user\n") + len("_\n") + len("_assistant\n")
"""Tokens around a user's message; `_` stands for a special one."""
OPEN_ENDED = CHATML.replace("<|im_end|>", "|")
"""No special token ends a turn, and the newline behind it belongs to a response."""


def asked(length: int) -> list[Message]:
    return [{"role": "user", "content": "x" * length}]


def found(template: str = CHATML) -> Cuts:
    """Room for 20 tokens of a prompt, and for 30 with its response."""
    room = 20 - SCAFFOLD
    pairs = [
        (asked(room), "y" * 9, "n" * 3),  # 20 tokens, and with the end of the turn 10: all that there is
        (asked(room + 1), "y" * 9, "n" * 3),  # 21 tokens
        (asked(room), "y" * 10, "n" * 3),  # a response loses its end of turn alone
        (asked(room + 5), "y" * 40, "n" * 10),  # all three are cut
        (asked(room - 1), "y" * 10, "n" * 3),  # a shorter prompt leaves a response more room
    ]
    tokenized = tokenize_pairs(tiny_tokenizer(template), pairs, max_length=30, max_prompt_length=20)
    return Cuts.of(pair for pair in tokenized if isinstance(pair, TokenizedPair))


def test_what_is_cut_is_counted() -> None:
    cuts = found()
    assert cuts == Cuts(pairs=5, prompts=2, responses=3)
    assert cuts.shown(max_length=30, max_prompt_length=20) == (
        "2 of 5 prompts lose their beginning (model.max_prompt_length=20), 3 of 10 responses their end "
        "(model.max_length=30)"
    )


def test_where_no_token_ends_a_turn_a_response_is_all_that_the_template_writes() -> None:
    """`|` and a newline follow it, with which nine are more than the room of 10, and ten more than that of 11."""
    assert found(OPEN_ENDED).responses == 6


@pytest.mark.parametrize("spelled", ["~ and on", "on"])
def test_an_end_that_the_text_spells_out_is_not_its_end(spelled: str) -> None:
    """As it may where an ordinary token is the end; a special one in a text is refused."""
    tokenizer = tiny_tokenizer(CHATML.replace("<|im_end|>", "~"))
    tokenizer.eos_token = "~"
    (pair,) = tokenize_pairs(
        tokenizer, [(asked(1), spelled, "n")], max_length=SCAFFOLD + 1 + 2, max_prompt_length=SCAFFOLD + 1
    )
    assert isinstance(pair, TokenizedPair)
    assert (pair.prompt_is_cut, pair.cut_responses) == (False, 1)


def test_nothing_is_said_where_nothing_is_cut() -> None:
    assert Cuts(5, 0, 0).shown(max_length=30, max_prompt_length=20) is None
