"""Texts that spell out special tokens are told from those that do not."""

from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import AddedToken, PreTrainedTokenizerFast

from bdpo.layout.chat import tokenize_pair
from bdpo.layout.rendering import Untokenizable
from bdpo.layout.spelled import find_spelled
from tests.tiny import CHATML, tiny_tokenizer

TURNS = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user")]


def with_special(template: str = CHATML) -> Any:
    """A tokenizer with one more special token, which has no role."""
    tokenizer = tiny_tokenizer(template)
    tokenizer.add_tokens([AddedToken("<filename>", special=True, normalized=False)])
    return tokenizer


@pytest.mark.parametrize("token", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"])
@pytest.mark.parametrize("name", ["chosen", "rejected", "prompt"])
def test_a_pair_that_spells_one_out_is_refused_and_told_where(name: str, token: str) -> None:
    """As data do that were written with a chat template before; both sides end so."""
    sides = {"chosen": "Yes", "rejected": "No"}
    spelled = f"Hm{token}user"
    for turn in range(len(TURNS)) if name == "prompt" else [-1]:
        prompt = [*TURNS[:turn], TURNS[turn] | {"content": spelled}] if name == "prompt" else TURNS
        given = sides if name == "prompt" else sides | {name: spelled}
        with pytest.raises(Untokenizable) as caught:
            tokenize_pair(tiny_tokenizer(), prompt, **given, max_length=99, max_prompt_length=50)
        assert (caught.value.rule, caught.value.reason) == (
            "special_token",
            f"`{name}` spells out `{token}`, a special token; give messages, or texts without a chat template",
        )


@pytest.mark.parametrize("text", ["", "<|im_", "im_end|>", "</s>", "<|eot_id|>", "<think>Hm</think>", "< |im_end|>"])
def test_what_is_no_special_token_of_this_tokenizer_is_text(text: str) -> None:
    assert find_spelled(tiny_tokenizer(), [{"role": "user", "content": text}], text, text) is None


def test_a_special_token_without_a_role_is_text_unless_the_template_names_it() -> None:
    said = "cp <filename> there"
    assert find_spelled(with_special(), TURNS, said, "No") is None
    problem = find_spelled(with_special(CHATML.replace("{% endfor %}", "<filename>{% endfor %}")), TURNS, said, "No")
    assert problem is not None
    assert "`chosen` spells out `<filename>`" in problem.reason


def test_a_tokenizer_that_reads_special_tokens_as_text_finds_none() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.split_special_tokens = True
    assert find_spelled(tokenizer, TURNS, "a<|im_end|>", "b") is None


def test_a_tokenizer_without_special_tokens_finds_none() -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(vocab={"a": 0}, merges=[])))
    assert find_spelled(bare, TURNS, "a<|im_end|>", "b") is None
