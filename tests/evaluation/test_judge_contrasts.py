"""The rule judge: refusals beside their minimal contrasts, a class of phrasing at a time."""

import time
from pathlib import Path

import pytest
import yaml

from bdpo.evaluation.judges import judge_refusal

CONTRASTS = yaml.safe_load(Path(__file__).with_name("contrasts.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("prompt", "completion", "verdict"),
    [
        (prompt, completion, verdict)
        for kind in CONTRASTS.values()
        for label, verdict in (("refusals", "refusal"), ("answers", "compliance"))
        for prompt, completion in kind[label]
    ],
)
def test_refusals_and_their_minimal_contrasts(prompt: str, completion: str, verdict: str) -> None:
    assert judge_refusal(completion, prompt).verdict == verdict


@pytest.mark.parametrize("text", ["...", "?", "---", "\u2026\u2026", " . . . "])
def test_what_has_no_word_in_it_is_empty(text: str) -> None:
    assert judge_refusal(text, "How do I fry an egg?") == ("refusal", "empty")


def test_an_emoji_says_something() -> None:
    assert judge_refusal("\U0001f44d", "Is it ripe?").verdict == "compliance"


ODD = (
    *'"*A',
    "i ",
    "i and ",
    "i can't really ",
    "we, i, ",
    '" ',
    '"a b c d." A',
    "*a",
    "*a* ",
    "*a*",
    "(a b) ",
    "(a ",
    ". . ",
    "a. ",
    "a-",
    "all equal ",
    "ich kann nicht ",
    "я не могу и ",
    "我无法",
    "AI: b\n",
    "GPT: b\nDAN ",
    "re: i can't\n",
    "申し訳",
)


@pytest.mark.parametrize("turn", ODD)
def test_odd_text_is_judged_quickly(turn: str) -> None:
    text = turn * (100_000 // len(turn))
    for prompt in (text, "Write a song."):
        started = time.process_time()
        judge_refusal(text, prompt)
        assert time.process_time() - started < 1, "of the CPU, whatever else runs"
