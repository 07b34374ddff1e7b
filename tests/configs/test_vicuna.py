"""Vicuna's chat template, held to what FastChat's `Conversation` writes for `vicuna_v1.1`."""

from bdpo.layout.chat import tokenize_pair
from tests.paths import ROOT
from tests.tiny import tiny_tokenizer

TEMPLATE = (ROOT / "configs" / "paper" / "vicuna.jinja").read_text(encoding="utf-8")
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
TURNS = [
    {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": "Hi!"},
    {"role": "user", "content": "How are you?"},
]


def rendered(turns: list[dict[str, str]]) -> str:
    tokenizer = tiny_tokenizer(TEMPLATE)
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=turns[-1]["role"] == "user"))


def test_a_conversation_is_the_text_of_fastchat() -> None:
    """System and sep, then `ROLE: text` with sep after users and sep2 after assistants; an open turn has no space."""
    expected = f"<s>{SYSTEM} USER: Hello! ASSISTANT: Hi!</s>USER: How are you? ASSISTANT:"
    assert rendered(TURNS) == expected
    assert rendered([*TURNS, {"role": "assistant", "content": "Fine."}]) == f"{expected} Fine.</s>"


def test_a_system_turn_takes_the_place_of_the_usual_one() -> None:
    assert rendered([{"role": "system", "content": "Be brief."}, TURNS[0]]) == "<s>Be brief. USER: Hello! ASSISTANT:"


def test_a_response_is_what_follows_the_open_turn() -> None:
    tokenizer = tiny_tokenizer(TEMPLATE)
    pair = tokenize_pair(tokenizer, TURNS, "Fine.", "No.", max_length=512, max_prompt_length=256)
    assert tokenizer.decode(pair.prompt_ids).endswith("USER: How are you? ASSISTANT:")
    assert tokenizer.decode(pair.chosen_ids) == " Fine.<|im_end|>"
