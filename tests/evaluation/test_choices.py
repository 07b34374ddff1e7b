"""Choosing by log-prob, against a plain forward pass an option."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from bdpo.errors import UserError
from bdpo.evaluation.choices import Weighed, likeliest, option_logps
from bdpo.evaluation.formats import Prompt
from bdpo.evaluation.preference import score_held_out
from bdpo.layout.rows import Layout
from bdpo.logprobs.attention import use_packed_attention
from tests.tiny import tiny_model, tiny_tokenizer

PROMPTS = [
    Prompt(str(i), f"Is {i} even?", "choice", None, "Yes", options)
    for i, options in enumerate([("Yes", "No", "Perhaps"), ("No", "Yes"), ("It is", "It is not, I fear")])
]
PROMPTS.append(
    PROMPTS[1]._replace(text="Well?\n\nAssistant: Well.\n\nHuman: Is 1 even?", transcript=True, prompt_id="turns")
)


REFUSES = "{% if messages[0]['content'] == 'forbidden' %}{{ raise_exception('not that') }}{% endif %}"


def test_log_probs_are_those_of_plain_forwards_and_are_kept(tmp_path: Path) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    use_packed_attention(model)
    loads: list[int] = []

    def load() -> tuple[torch.nn.Module, Layout]:
        loads.append(1)
        return model, Layout.PACKED

    def ask() -> list[Weighed]:
        return option_logps(
            load,
            tokenizer,
            PROMPTS,
            tmp_path,
            max_length=128,
            max_prompt_length=64,
            advance=lambda n: None,
        )

    found = ask()
    for prompt, (logps, cut, problem) in zip(PROMPTS, found, strict=True):
        assert (cut, problem) == (False, None)
        assert logps is not None
        earlier = "Well?<|im_end|>\n<|im_start|>assistant\nWell.<|im_end|>\n<|im_start|>user\n"
        question = prompt.text.rpartition("Human: ")[2]
        head = f"<|im_start|>user\n{earlier if prompt.transcript else ''}{question}<|im_end|>\n<|im_start|>assistant\n"
        for option, logp in zip(prompt.options, logps, strict=True):
            start = len(tokenizer(head, add_special_tokens=False)["input_ids"])
            ids = torch.tensor([tokenizer(f"{head}{option}<|im_end|>", add_special_tokens=False)["input_ids"]])
            with torch.no_grad():
                table = model(ids).logits[0].log_softmax(-1)
            plain = sum(float(table[i - 1, ids[0, i]]) for i in range(start, ids.shape[1]))
            assert logp == pytest.approx(plain, abs=1e-3)
    assert ask() == found
    assert len(loads) == 1, "what is kept needs no model"


def test_the_likeliest_wins_and_of_equals_a_wrong_one() -> None:
    assert likeliest(PROMPTS[0], [-1.0, -2.0, -3.0]) == "Yes"
    assert likeliest(PROMPTS[0], [-3.0, -1.0, -2.0]) == "No"
    assert likeliest(PROMPTS[0], [-1.0, -2.0, -1.0]) == "Perhaps", "the right one stands first, as in all of HHH"
    assert likeliest(PROMPTS[1], [-1.0, -1.0]) == "No"


def test_what_cannot_be_weighed_says_why_and_a_cut_prompt_is_told(tmp_path: Path) -> None:
    """Options that are cut to the same tokens leave the choice to their order, and so nothing is chosen."""
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = REFUSES + str(tokenizer.chat_template)
    prompts = [
        PROMPTS[0]._replace(options=("Yes", "No " * 40, "No " * 40 + "no")),
        PROMPTS[0]._replace(text="forbidden"),
        PROMPTS[0]._replace(text="Is it even? " * 20),
        PROMPTS[0],
    ]
    found = option_logps(
        lambda: (tiny_model(), Layout.PLAIN),
        tokenizer,
        prompts,
        tmp_path,
        max_length=64,
        max_prompt_length=32,
        advance=lambda n: None,
    )
    assert [(own.logps is None, own.cut, own.problem) for own in found] == [
        (True, False, "two options have the same tokens, after truncation"),
        (True, False, "the chat template refuses the messages: not that"),
        (False, True, None),
        (False, False, None),
    ]


def test_a_log_prob_that_is_none_names_its_prompt(tmp_path: Path) -> None:
    """The `9` has no embedding, and only the second prompt has one."""
    prompts = [PROMPTS[0], PROMPTS[1]._replace(prompt_id="second", text="Is 9 even?")]
    with pytest.raises(UserError, match="evaluate: the model gives a token of the prompt second the log-prob nan"):
        option_logps(
            lambda: (without_nine(), Layout.PLAIN),
            tiny_tokenizer(),
            prompts,
            tmp_path,
            max_length=128,
            max_prompt_length=64,
            advance=print,
        )


def test_a_log_prob_that_is_none_names_its_pair(tmp_path: Path) -> None:
    pairs = [
        {"pair_id": name, "prompt": [{"role": "user", "content": "Q"}], "chosen": "yes", "rejected": answer}
        for name, answer in (("first", "no"), ("second", "9 no"))
    ]
    with pytest.raises(UserError, match="evaluate: the model gives a token of the pair second the log-prob nan"):
        score_held_out(
            without_nine(),
            Layout.PLAIN,
            tiny_tokenizer(),
            pairs,
            tmp_path,
            max_length=128,
            max_prompt_length=64,
            advance=print,
        )


def without_nine() -> PreTrainedModel:
    model = tiny_model()
    with torch.no_grad():
        model.get_input_embeddings().weight[tiny_tokenizer()("9")["input_ids"][0]] = float("nan")
    return model
