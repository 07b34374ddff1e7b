"""The quick answer is the slow one: `RefusalFinder` says what `tokenize_pair` raises."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AddedToken

from bdpo.layout.chat import tokenize_pair
from bdpo.layout.refusals import RefusalFinder, Sides
from bdpo.layout.rendering import Untokenizable
from bdpo.models.loading import load_tokenizer
from bdpo.models.source import resolve_model
from tests.tiny import CHANNELS, CHATML, THINKING, tiny_tokenizer

REFUSING = CHATML.replace("{{ message['content'] }}", "{% if 'zz' in message['content'] %}{{ raise_exception('no') }}"
                          "{% endif %}{{ message['content'] | trim }}")  # fmt: skip
HIDDEN_END = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
NOT_A_PREFIX = CHATML.replace("{% if add_generation_prompt %}", "{% if add_generation_prompt %}<|im_start|>next\n")


def with_token(**fields: bool) -> Any:
    """A tokenizer whose end of turn is found in another way than by its plain text."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("x<|im_start|>a", special=True, normalized=False, **fields)])
    return tokenizer


def joining() -> Any:
    """A tokenizer that makes one token of a prompt's end and a response's beginning."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("\nx", normalized=False)])
    return tokenizer


def reads_specials_as_text() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.split_special_tokens = True
    return tokenizer


TOKENIZERS: dict[str, Any] = {
    "embedded": load_tokenizer(resolve_model("embedded").folder),
    "tiny": tiny_tokenizer(),
    "refusing": tiny_tokenizer(REFUSING),
    "without an end": tiny_tokenizer(HIDDEN_END),
    "no prefix": tiny_tokenizer(NOT_A_PREFIX),
    "thinking": tiny_tokenizer(THINKING),
    "channels": tiny_tokenizer(CHANNELS),
    "joining": joining(),
    "covered": with_token(),
    "stripping": with_token(rstrip=True),
    "as text": reads_specials_as_text(),
}
PIECES = ["<|im_", "start|>", "x", "a", "zz", " ", "\n", "é", "\u3000", "assistant\n", "user", "word", "</think>",
          "\x04", "e\u0301"]  # fmt: skip
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
TEXT = st.lists(st.sampled_from(PIECES), max_size=6).map("".join) | st.text(max_size=12)
SPELLED = st.lists(st.sampled_from(PIECES + SPECIAL), max_size=6).map("".join)
"""With special tokens, for which most tokenizers refuse it."""
ALIKE = st.builds(
    lambda begin, times, ends: Sides(
        [{"role": "user", "content": "Q"}], *((begin or "a") * times + end for end in ends)
    ),
    TEXT,
    st.integers(1, 9),
    st.tuples(TEXT, TEXT),
)
"""Responses that begin alike, and may be cut before they differ."""


def said(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Sides]:
    return st.builds(
        lambda turns, chosen, rejected: Sides(
            [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)], chosen, rejected
        ),
        st.lists(texts, min_size=1, max_size=3),
        texts,
        texts,
    )


PAIR = ALIKE | said(TEXT) | said(SPELLED)


def slow(tokenizer: Any, pair: Sides, lengths: dict[str, int]) -> tuple[str, str] | None:
    try:
        tokenize_pair(tokenizer, pair.prompt, pair.chosen, pair.rejected, **lengths)
    except Untokenizable as problem:
        return problem.rule, problem.reason
    return None


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60)
@example(
    pairs=[Sides([{"role": "user", "content": "Q"}], "", " "), Sides([{"role": "user", "content": "zz"}], "a", "b")],
    max_length=64,
    share=0.5,
)
@example(
    pairs=[Sides([{"role": "user", "content": "Q"}], "yes " * 9 + "a", "yes " * 9 + "b")], max_length=40, share=0.5
)
@example(pairs=[Sides([{"role": "user", "content": "Q"}], "caf\u00e9 a", "cafe\u0301 a")], max_length=80, share=0.2)
@given(st.lists(PAIR, max_size=6), st.integers(8, 80), st.floats(0.2, 0.999))
def test_it_is_what_tokenize_pair_raises(name: str, pairs: list[Sides], max_length: int, share: float) -> None:
    lengths = {"max_length": max_length, "max_prompt_length": min(max(4, int(max_length * share)), max_length - 1)}
    tokenizer = TOKENIZERS[name]
    found = RefusalFinder(tokenizer, **lengths).find(pairs)
    assert [p and (p.rule, p.reason) for p in found] == [slow(tokenizer, pair, lengths) for pair in pairs]


def test_every_rule_is_found() -> None:
    question = [{"role": "user", "content": "Q"}]
    lengths = {"max_length": 64, "max_prompt_length": 32}

    def rule(name: str, chosen: str, rejected: str) -> str | None:
        (problem,) = RefusalFinder(TOKENIZERS[name], **lengths).find([Sides(question, chosen, rejected)])
        return None if problem is None else problem.rule

    assert rule("tiny", "a", "b") is None
    assert rule("tiny", "a", "") == "empty_response"
    assert rule("tiny", "a" * 64 + "b", "a" * 64 + "c") == "identical_tokens"
    assert rule("refusing", "a", "zz") == "template_refuses"
    assert rule("no prefix", "a", "b") == "prompt_not_prefix"
    assert rule("thinking", "a", "b</think>") == "thoughts"
    assert rule("tiny", "a", "b<|im_end|>") == "special_token"
    assert rule("as text", "a", "b<|im_end|>") is None


def test_where_a_pair_is_cut_depends_on_its_prompt() -> None:
    finder = RefusalFinder(TOKENIZERS["embedded"], max_length=64, max_prompt_length=48)
    asked = ([{"role": "user", "content": text}] for text in ("Q", "long " * 60))
    short, long = finder.find([Sides(prompt, "one " * 24 + "yes", "one " * 24 + "no") for prompt in asked])
    assert short is None
    assert long is not None
    assert long.rule == "identical_tokens"


def test_prompts_are_not_tokenised(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny_tokenizer()
    seen: list[str] = []
    call = type(tokenizer).__call__

    def watched(self: Any, texts: list[str], **options: Any) -> Any:
        seen.extend(texts)
        return call(self, texts, **options)

    monkeypatch.setattr(type(tokenizer), "__call__", watched)
    pairs = [
        Sides([{"role": "user", "content": "long " * 1000}], f"chosen {i} " * 99, "rejected too") for i in range(3)
    ]
    assert RefusalFinder(tokenizer, max_length=128, max_prompt_length=32).find(pairs) == [None] * 3
    assert seen
    assert max(map(len, seen)) < 60
