"""The tokens of a text up to a space are its first tokens, wherever the tokenizer is said to split there."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AddedToken, PreTrainedTokenizerFast

from bdpo.layout import words
from bdpo.layout.words import first_word, lost_bytes, splits_at_spaces
from bdpo.models.loading import load_tokenizer
from bdpo.models.source import resolve_model
from tests.tiny import tiny_tokenizer

BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
SPLITTING: dict[str, Any] = {
    "GPT-2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "digits": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    **{
        f"pattern {i}": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), BYTES])
        for i, pattern in enumerate(sorted(words._PATTERNS))
    },
}
TEXTS = [
    "it's a word or two 12345 ",
    'he\'ll say: "no"...  \n\n yes ',
    "naïve café, e\u0301te\u0301 \t tab",
    "a b c d",
] * 9


def trained(pre_tokenizer: Any, normalizer: Any = None) -> PreTrainedTokenizerFast:
    """A tokenizer with merges across whatever its pre-tokenizer leaves together."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizer
    core.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>")
    tokenizer.add_tokens([AddedToken("<x>", rstrip=True, lstrip=True), AddedToken("word", single_word=True)])
    return tokenizer


TOKENIZERS = {name: trained(step, normalizers.NFC()) for name, step in SPLITTING.items()}
TOKENIZERS["embedded"] = load_tokenizer(resolve_model("embedded").folder)
PIECES = ["<|im_end|>", "<x>", "word", " ", "  ", "\n", "a", "'s", "'", "12", "345", ".", "é", "e\u0301", "\u0301",
          "ĠĠ",
          "\u3000", "\x85", "\x1c", "\t", "字"]  # fmt: skip


def test_bytes_without_a_token_are_lost() -> None:
    assert lost_bytes(tiny_tokenizer()) == b""
    assert lost_bytes(TOKENIZERS["GPT-2"]) is None  # its added token takes along the spaces beside it
    embedded = TOKENIZERS["embedded"]
    lost = lost_bytes(embedded)
    assert lost is not None
    characters = [chr(i) for i in range(0x11_0000) if not 0xD800 <= i < 0xE000]
    for text in characters[:0x3000] + characters[0x3000::0x400]:
        ids = embedded(text, add_special_tokens=False)["input_ids"]
        assert (embedded.decode(ids) == text) == (text.encode().translate(None, lost) == text.encode())


@pytest.mark.parametrize("name", TOKENIZERS)
def test_these_split_at_spaces(name: str) -> None:
    assert splits_at_spaces(TOKENIZERS[name])


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=150)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=20), st.sampled_from(["", "x\n"]))
def test_what_comes_before_such_a_space_has_the_same_tokens_alone(name: str, text: str, before: str) -> None:
    tokenizer = TOKENIZERS[name]
    word = first_word(text)
    if word is not None:
        alone, whole = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in (before + word, before + text))
        assert whole[: len(alone)] == alone


def with_space_in_a_token() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([AddedToken("two words")])
    return tokenizer


@pytest.mark.parametrize(
    "tokenizer",
    [
        with_space_in_a_token(),
        trained(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        trained(pre_tokenizers.Metaspace()),
        trained(pre_tokenizers.Sequence([BYTES, SPLITTING["GPT-2"]])),
        trained(pre_tokenizers.Split(Regex(r"\S+ \S+"), "isolated")),
        trained(SPLITTING["GPT-2"], normalizers.NFKD()),
        trained(BYTES),
    ],
)
def test_others_are_not_said_to_split(tokenizer: Any) -> None:
    assert not splits_at_spaces(tokenizer)


def test_first_words() -> None:
    assert first_word("one two three") == "one"
    assert first_word(" one two") == " one"
    for text in ("one", "", "  one two", "one\n two", "x" * 60 + " y"):
        assert first_word(text) is None, text
