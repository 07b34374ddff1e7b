"""Chat to token ids, with expectations written out by hand.

The tiny tokenizer has one token a byte, so a text's ids are its bytes', and `ids` spells them out.
"""

import pytest
from tokenizers.processors import TemplateProcessing

from bdpo.errors import UserError
from bdpo.layout.chat import (
    TokenizedPair,
    cut_prompt,
    null_prompt,
    tokenize_pair,
    tokenize_pairs,
    tokenize_prompt,
    tokenize_responses,
)
from bdpo.layout.rendering import Message, Untokenizable, require_answers_follow, used_template
from tests.tiny import ALWAYS_THINKING, BUDGETED, CHANNELS, CHATML, EMPTY_THOUGHTS, THINKING, tiny_tokenizer

END, START = "<|im_end|>", "<|im_start|>"
SYSTEM = "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + CHATML
LLAMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] }}{{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
"""As Llama 2 and Mistral have it: BOS written by the template, no generation prompt, no newline after a turn."""
THINKS_AT_ONCE = THINKING.replace("{% endif %}{% endif %}", "{% else %}<think>\n{% endif %}{% endif %}")
"""As Qwen3.5."""
THINKS_BY_DEFAULT = "{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}" + (
    THINKING.replace("loop.last", "not enable_thinking").replace("is defined and enable_thinking is false", "== false")
)
"""As SmolLM3: every answer of a conversation without thinking has empty thoughts."""
USER: list[Message] = [{"role": "user", "content": "Hi"}]


def ids(text: str) -> tuple[int, ...]:
    """One token a byte, and one a special token; nothing added before or after."""
    special = {"<|endoftext|>": 0, START: 1, END: 2}
    alphabet = {byte: i for i, byte in enumerate(_BYTES, start=3)}
    found: list[int] = []
    while text:
        token = next((token for token in special if text.startswith(token)), None)
        found.append(special[token] if token else alphabet[ord(text[0])])
        text = text[len(token) if token else 1 :]
    return tuple(found)


def _bytes() -> list[int]:
    """Bytes in the order of the alphabet of `ByteLevel`: each is shown as a character of its own, sorted by that."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return shown + hidden  # a hidden byte is shown by a character from U+0100 on


_BYTES = _bytes()


def pair(
    prompt: list[Message] = USER,
    chosen: str = "Yes",
    rejected: str = "No",
    *,
    template: str = CHATML,
    max_length: int = 1000,
    max_prompt_length: int = 500,
) -> TokenizedPair:
    return tokenize_pair(
        tiny_tokenizer(template),
        prompt,
        chosen,
        rejected,
        max_length=max_length,
        max_prompt_length=max_prompt_length,
    )


def test_a_pair_by_hand() -> None:
    """The newline that the template writes after an end of turn is never generated, so it is not scored."""
    found = pair()
    assert found.prompt_ids == ids(f"{START}user\nHi{END}\n{START}assistant\n")
    assert found.chosen_ids == ids(f"Yes{END}")
    assert found.rejected_ids == ids(f"No{END}")


def test_the_end_of_turn_is_kept_where_padding_is_the_same_token() -> None:
    assert tiny_tokenizer().pad_token_id == tiny_tokenizer().eos_token_id == 2
    assert pair().chosen_ids[-1] == 2


def test_a_system_turn_of_the_templates_own_goes_before_the_prompt_and_the_null_prompt() -> None:
    own = f"{START}system\nBe kind.{END}\n"
    assert pair(template=SYSTEM).prompt_ids == ids(f"{own}{START}user\nHi{END}\n{START}assistant\n")
    empty = null_prompt(tiny_tokenizer(SYSTEM), max_prompt_length=500)
    assert empty == ids(f"{own}{START}user\n{END}\n{START}assistant\n")


def test_a_system_turn_of_the_data_takes_its_place() -> None:
    prompt = [{"role": "system", "content": "Be brief."}, *USER]
    expected = ids(f"{START}system\nBe brief.{END}\n{START}user\nHi{END}\n{START}assistant\n")
    assert pair(prompt, template=SYSTEM).prompt_ids == expected
    assert pair(prompt, template=CHATML).prompt_ids == expected


def test_a_template_that_refuses_a_system_turn_names_the_rule() -> None:
    with pytest.raises(Untokenizable, match="only user and assistant") as caught:
        pair([{"role": "system", "content": "Be brief."}, *USER], template=LLAMA)
    assert caught.value.rule == "template_refuses"


@pytest.mark.parametrize(
    "broken",
    [
        "{{ messages[0]['content'] + 1 }}",
        "{{ messages.nothing.at_all() }}",
        "{{ 1 / 0 }}",
        "{{ range(10 ** 9) | length }}",
        "{{ 2.0 ** 10000 }}",
        "{{ '{}'.format() }}",
        "{% macro again(n) %}{{ again(n) }}{% endmacro %}{{ again(1) }}",
        "{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}",
        "{% for a in [1] %}" * 25 + "x" + "{% endfor %}" * 25,
    ],
    ids=["type", "undefined", "zero", "range", "overflow", "index", "recursion", "depth", "blocks"],
)
def test_a_template_that_fails_by_itself_names_the_rule(broken: str) -> None:
    with pytest.raises(Untokenizable, match=r"^template_refuses: ") as caught:
        pair(USER, template=broken)
    assert caught.value.rule == "template_refuses"


def test_a_template_that_refuses_an_empty_message_or_a_bare_question_is_at_fault_itself() -> None:
    refusing = "{{% if {} %}}{{{{ raise_exception('not so') }}}}{{% endif %}}"
    empty = tiny_tokenizer(refusing.format("not messages[0]['content']") + CHATML)
    with pytest.raises(UserError, match=r"not so; its chat template must take an empty user message"):
        null_prompt(empty, max_prompt_length=16)
    short = tiny_tokenizer(refusing.format("messages[0]['content'] == '?'") + CHATML)
    with pytest.raises(UserError, match=r"not so; its chat template must take a user message and an answer"):
        tokenize_pair(short, USER, "Yes", "No", max_length=99, max_prompt_length=16)


def test_a_template_that_writes_the_date_writes_the_same_every_day() -> None:
    found = pair(USER, template="{{ strftime_now('%d %b %Y') }}\n" + CHATML)
    assert found.prompt_ids == ids(f"26 Jul 2024\n{START}user\nHi{END}\n{START}assistant\n")


@pytest.mark.parametrize(("lead", "written"), [("\n", "\n"), ("  {% if true %}{% endif %}", ""), ("{# dated #}\n", "")])
def test_a_template_that_writes_the_date_begins_as_it_does_alone(lead: str, written: str) -> None:
    """Templates keep a line break at their start, and drop the spaces before a tag that begins a line."""
    found = pair(USER, template=lead + "{{ strftime_now('%Y') }} " + CHATML)
    assert found.prompt_ids == ids(f"{written}2024 {START}user\nHi{END}\n{START}assistant\n")
    alone = pair(USER, template=lead + CHATML)
    assert alone.prompt_ids == ids(f"{written}{START}user\nHi{END}\n{START}assistant\n")


@pytest.mark.parametrize("template", [THINKING, THINKS_AT_ONCE, THINKS_BY_DEFAULT])
def test_a_model_that_can_think_is_shown_and_asked_without_thoughts(template: str) -> None:
    """The empty thoughts are the prompt's, and neither response has any."""
    found = pair(template=template)
    asked = f"{START}assistant\n<think>\n\n</think>\n\n"
    assert found.prompt_ids == ids(f"{START}user\nHi{END}\n{asked}")
    assert (found.chosen_ids, found.rejected_ids) == (ids(f"Yes{END}"), ids(f"No{END}"))
    tokenizer = tiny_tokenizer(template)
    assert tokenize_prompt(tokenizer, USER) == found.prompt_ids
    assert null_prompt(tokenizer, max_prompt_length=500) == ids(f"{START}user\n{END}\n{asked}")
    assert tokenize_responses(tokenizer, USER, ["Yes"], max_length=500, max_prompt_length=400) == (
        found.prompt_ids,
        [found.chosen_ids],
    )


def test_several_turns_stand_in_the_prompt_and_only_the_last_answer_is_scored() -> None:
    prompt = [*USER, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Why?"}]
    found = pair(prompt)
    assert found.prompt_ids == ids(
        f"{START}user\nHi{END}\n{START}assistant\nHello{END}\n{START}user\nWhy?{END}\n{START}assistant\n"
    )
    assert found.chosen_ids == ids(f"Yes{END}")


def test_bos_is_written_once_where_template_and_tokenizer_both_would() -> None:
    """`<|im_start|>` is the BOS of this tokenizer, `<|im_end|>` its EOS."""
    tokenizer = tiny_tokenizer(LLAMA)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{START} $A", special_tokens=[(START, 1)])
    assert tuple(tokenizer("Hi")["input_ids"]) == ids(f"{START}Hi"), "by itself it writes a BOS"
    found = tokenize_pair(tokenizer, USER, "Yes", "No", max_length=1000, max_prompt_length=500)
    assert found.prompt_ids == ids(f"{START}[INST] Hi [/INST]")
    assert found.chosen_ids == ids(f"Yes{END}")


def test_a_tokenizer_without_bos_gets_none() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.bos_token = None
    found = tokenize_pair(tokenizer, USER, "Yes", "No", max_length=1000, max_prompt_length=500)
    assert found == pair()


def test_a_prompt_is_cut_from_its_start_and_is_the_same_for_both_sides() -> None:
    whole = ids(f"{START}user\nHi{END}\n{START}assistant\n")
    found = pair(max_prompt_length=6)
    assert found.prompt_ids == whole[-6:] == ids("stant\n")
    assert found.chosen_ids == ids(f"Yes{END}")


@pytest.mark.parametrize(
    ("prompt", "longest", "kept"),
    [
        ((7, 1, 2, 3), 4, (7, 1, 2, 3)),
        ((7, 1, 2, 3), 3, (7, 2, 3)),
        ((7, 1, 2, 3), 1, (7,)),
        ((7, 1, 2, 3), 0, ()),
        ((1, 7, 2, 3), 2, (2, 3)),
        ((7, 1, 7, 2, 3), 2, (2, 3)),
        ((), 2, ()),
    ],
)
def test_a_cut_prompt_begins_with_the_token_that_begins_a_text_and_no_turn(
    prompt: tuple[int, ...], longest: int, kept: tuple[int, ...]
) -> None:
    assert cut_prompt(prompt, longest, 7) == kept
    assert cut_prompt(prompt, longest, None) == (prompt[-longest:] if longest else ())


def test_a_pairs_cut_prompt_and_the_null_prompt_keep_their_bos() -> None:
    tokenizer = tiny_tokenizer(LLAMA)
    tokenizer.bos_token = "<|endoftext|>"
    bos = tokenizer.bos_token_id
    found = tokenize_pair(tokenizer, USER, "Yes", "No", max_length=100, max_prompt_length=6)
    assert tokenize_prompt(tokenizer, USER) == (bos, *ids("[INST] Hi [/INST]"))
    assert found.prompt_ids == (bos, *ids("INST]"))
    assert null_prompt(tokenizer, max_prompt_length=6) == (bos, *ids("INST]"))
    assert found.chosen_ids == ids(f"Yes{END}")


def test_a_response_is_cut_from_its_end_and_then_has_no_end_of_turn() -> None:
    found = pair(chosen="Yes, I will", rejected="No", max_prompt_length=6, max_length=9)
    assert found.chosen_ids == ids("Yes")
    assert found.rejected_ids == ids(f"No{END}")
    assert len(found.prompt_ids) + len(found.chosen_ids) == 9


def test_a_response_that_fits_to_the_token_keeps_its_end_of_turn() -> None:
    assert pair(max_prompt_length=6, max_length=10).chosen_ids == ids(f"Yes{END}")
    assert pair(max_prompt_length=6, max_length=9).chosen_ids == ids("Yes")


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_an_empty_response_names_its_side(side: str) -> None:
    with pytest.raises(Untokenizable, match=f"the {side} response has no token") as caught:
        pair(**{side: ""})  # type: ignore[arg-type]
    assert caught.value.rule == "empty_response"


def test_a_response_that_truncation_empties_is_refused() -> None:
    with pytest.raises(Untokenizable) as caught:
        pair(max_prompt_length=10, max_length=10)
    assert caught.value.rule == "empty_response"


@pytest.mark.parametrize(
    ("written", "scored"), [(f" {END}\n", f" {END}"), ("\n\n", "\n\n"), (f".{START}{END}", f".{START}")]
)
def test_a_turn_ends_with_the_first_special_token_after_it_or_with_all_that_is_written(
    written: str, scored: str
) -> None:
    """As Vicuna's ` </s>`; as a template without special tokens; as one that writes two."""
    template = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}" + written
    template += "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    found = pair(chosen="Yes, so.\n I do", template=template)
    assert found.prompt_ids == ids(f"user: Hi{written}assistant: ")
    assert found.chosen_ids == ids(f"Yes, so.\n I do{scored}")


def test_an_end_of_turn_may_be_an_ordinary_token_that_the_tokenizer_calls_its_eos() -> None:
    tokenizer = tiny_tokenizer(
        "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}~\n{% endfor %}"
    )
    tokenizer.eos_token = "~"
    found = tokenize_pair(
        tokenizer, [*USER, {"role": "system", "content": "S"}], "Yes", "No~ or", max_length=99, max_prompt_length=9
    )
    assert found.chosen_ids == ids("assistant: Yes~")
    assert found.rejected_ids == ids("assistant: No~ or~"), "the content may have it too, and the template's is the end"


def test_a_prompt_that_is_no_prefix_is_refused() -> None:
    """A template that shows the last user turn otherwise once it is answered, as some reasoning models' do."""
    template = (
        "{% for message in messages %}{% if loop.last and message['role'] == 'user' %}(now) {% endif %}"
        "{{ message['role'] }}: {{ message['content'] }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    with pytest.raises(
        Untokenizable, match=r"not a prefix .* these turns \(user\) otherwise once a response"
    ) as caught:
        pair(template=template)
    assert caught.value.rule == "prompt_not_prefix"


def test_a_system_turn_that_moves_once_it_is_answered_is_named() -> None:
    """As Mistral 7B v0.3: it is written into the last turn, where that is the user's."""
    template = (
        "{% for message in messages if message['role'] != 'system' %}{% if message['role'] == 'user' %}[INST] "
        "{% if loop.last and messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}\n\n{% endif %}"
        "{{ message['content'] }}[/INST]{% else %} {{ message['content'] }}<|im_end|>{% endif %}{% endfor %}"
    )
    assert pair(template=template).chosen_ids == ids(f" Yes{END}")
    with pytest.raises(Untokenizable, match=r"chosen response: .* these turns \(system, user\) otherwise") as caught:
        pair([{"role": "system", "content": "Be brief."}, *USER], template=template)
    assert caught.value.rule == "prompt_not_prefix"
    require_answers_follow(tiny_tokenizer(template))


def test_a_response_with_thoughts_that_the_template_begins_otherwise_is_named() -> None:
    """With no switch to train and ask it without."""
    template = (
        "{% for message in messages %}{{ message['role'] }}: {% if message['role'] == 'assistant' "
        "and '</think>' not in message['content'] %}<think></think>{% endif %}{{ message['content'] }}<|im_end|>"
        "{% endfor %}{% if add_generation_prompt %}assistant: <think></think>{% endif %}"
    )
    assert pair(template=template).chosen_ids == ids(f"Yes{END}")
    with pytest.raises(Untokenizable, match="rejected response: the chat template begins a response with thoughts"):
        pair(template=template, rejected="<think>Hm</think>No")


def test_a_response_whose_first_characters_join_the_prompt_is_named() -> None:
    tokenizer = tiny_tokenizer(CHATML)
    tokenizer.add_tokens(["\nNo"])
    with pytest.raises(Untokenizable, match=r"rejected response: .* join the"):
        tokenize_pair(tokenizer, USER, "Yes", "No", max_length=1000, max_prompt_length=500)


@pytest.mark.parametrize("template", [THINKING, THINKS_AT_ONCE, THINKS_BY_DEFAULT])
@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_response_with_thoughts_is_refused_for_a_model_that_can_think(template: str, side: str) -> None:
    thinking: dict[str, str] = {side: "<think>Hm</think>Yes, so"}
    with pytest.raises(Untokenizable, match=r"^thoughts: a response has thoughts") as caught:
        pair(template=template, **thinking)  # type: ignore[arg-type]
    assert caught.value.rule == "thoughts"
    assert pair(template=CHATML, **thinking) != pair(template=CHATML)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_a_response_whose_thoughts_the_template_leaves_out_is_refused(side: str) -> None:
    """As Nemotron's template, which is told otherwise than by a switch: scores would be of another text."""
    template = CHATML.replace("{{ message['content'] }}", "{{ message['content'].split('</think>')[-1].lstrip() }}")
    thinking: dict[str, str] = {side: "<think>\nHm\n</think>\n\nYes, so"}
    with pytest.raises(Untokenizable, match=r"^thoughts: .* \(</think>\), and the chat template leaves them out"):
        pair(template=template, **thinking)  # type: ignore[arg-type]
    rewritten = CHATML.replace("{{ message['content'] }}", "{{ message['content'].replace('\n', ' ') }}")
    assert pair(template=rewritten, chosen=thinking[side]).chosen_ids == ids(f"<think> Hm </think>  Yes, so{END}")


@pytest.mark.parametrize(
    "own",
    [
        "{%- set enable_thinking = true %}{% if '/no_think' in messages[0]['content'] %}"
        "{% set enable_thinking = false %}{% endif %}",
        "{% set ns = namespace(enable_thinking=true) %}",
    ],
)
def test_a_template_that_sets_its_switch_itself_is_at_fault_unless_it_is_off(own: str) -> None:
    """As Nemotron's: what it is told before it begins is overwritten."""
    with pytest.raises(UserError, match=r"turns `enable_thinking` on whatever it is told, and so"):
        require_answers_follow(tiny_tokenizer(own + CHATML))
    for taken in (own.replace("= true", "= false").replace("=true", "=false"), "{# enable_thinking = true #}"):
        require_answers_follow(tiny_tokenizer(taken + CHATML))


@pytest.mark.parametrize("template", [CHATML, SYSTEM, LLAMA, THINKING, THINKS_AT_ONCE, THINKS_BY_DEFAULT, CHANNELS])
def test_templates_with_which_answers_follow(template: str) -> None:
    require_answers_follow(tiny_tokenizer(template))


def test_a_template_with_which_no_answer_follows_is_at_fault_itself() -> None:
    tokenizer = tiny_tokenizer(ALWAYS_THINKING)
    tokenizer.name_or_path = "models/r1"
    with pytest.raises(UserError, match=r"^The tokenizer in models/r1: its chat template writes ") as caught:
        require_answers_follow(tokenizer)
    end = r"'<|im_end|>\n<|im_start|>assistant\n"
    both = rf"{end}<think>\n' where an answer is to come and {end}' before one"
    assert both in str(caught.value)
    tokenizer.chat_template = "{{ messages | length }}" + CHATML
    with pytest.raises(UserError, match=r"writes '1<\|im_start\|>user.*' where .* and '2<\|im_start\|>user"):
        require_answers_follow(tokenizer)


def test_a_model_with_a_budget_of_thoughts_is_given_none() -> None:
    """Its template, which then writes thoughts before an answer to come alone, is refused, and its like on both not."""
    empty = "<seed:think>\n</seed:think>"
    with pytest.raises(UserError, match=rf"assistant\\n{empty}' where an answer".replace("\n", r"\\n")):
        require_answers_follow(tiny_tokenizer(BUDGETED))
    alike = BUDGETED.replace(
        "{{ message['content'] }}",
        f"{{% if message['role'] == 'assistant' %}}{empty}{{% endif %}}{{{{ message['content'] }}}}",
    )
    require_answers_follow(tiny_tokenizer(alike))
    with pytest.raises(Untokenizable, match=r"^thoughts: a response has thoughts \(</seed:think>\)"):
        pair(template=alike, chosen="<seed:think>Hm</seed:think>Yes, so")


def test_a_template_is_written_as_it_is_but_for_its_switch() -> None:
    for template in (CHATML, LLAMA, SYSTEM, ALWAYS_THINKING):
        assert used_template(tiny_tokenizer(template)) == template
    for template in (THINKING, THINKING + "{# thinking_budget #}"):
        assert used_template(tiny_tokenizer(template)) == "{%- set enable_thinking = false %}\n" + template
    assert used_template(tiny_tokenizer(BUDGETED)) == "{%- set thinking_budget = 0 %}\n" + BUDGETED


def test_a_template_that_opens_thoughts_before_an_answer_to_come_is_at_fault_though_one_that_is_there_follows() -> None:
    with pytest.raises(UserError, match=r"<think>\\n' where .* and .*<think>\\n\\n</think>\\n\\n' before one"):
        require_answers_follow(tiny_tokenizer(EMPTY_THOUGHTS))


def test_a_template_that_leaves_the_channel_to_the_model_is_shown_and_asked_from_the_final_one_on() -> None:
    """What precedes the answer is the prompt's: the policy learns no channel, and the model has none to think in."""
    found = pair(template=CHANNELS)
    asked = ids(f"{START}user\nHi{END}\n{START}assistant<|channel|>final<|message|>")
    assert found == TokenizedPair(asked, ids(f"Yes{END}"), ids(f"No{END}"))
    tokenizer = tiny_tokenizer(CHANNELS)
    assert tokenize_prompt(tokenizer, USER) == asked
    assert tokenize_responses(tokenizer, USER, ["Yes"], max_length=500, max_prompt_length=400)[0] == asked
    assert null_prompt(tokenizer, max_prompt_length=500)[-36:] == asked[-36:]


@pytest.mark.parametrize(
    ("there", "template"),
    [
        ("opened already", CHANNELS.replace("assistant{% endif %}", "assistant<|channel|>final<|message|>{% endif %}")),
        (
            "other words between",
            CHANNELS.replace("<|channel|>final", "<|channel|>analysis<|message|>.<|channel|>final"),
        ),
        ("only spoken of", "{# <|channel|>final<|message|> #}" + CHATML),
    ],
)
def test_a_channel_is_opened_where_nothing_but_it_precedes_an_answer(there: str, template: str) -> None:
    assert used_template(tiny_tokenizer(template)) == template, there


def test_a_prompt_for_generation_is_what_stands_before_a_response() -> None:
    tokenizer = tiny_tokenizer()
    for longest in (6, 500):
        assert tokenize_prompt(tokenizer, USER)[-longest:] == pair(max_prompt_length=longest).prompt_ids


def test_several_responses_are_each_what_they_are_in_a_pair_and_may_be_the_same() -> None:
    texts, lengths = ["Yes", "Perhaps, in a way", "Yes"], {"max_length": 30, "max_prompt_length": 16}
    prompt, found = tokenize_responses(tiny_tokenizer(), USER, texts, **lengths)
    assert prompt == ids(f"{START}user\nHi{END}\n{START}assistant\n")
    assert found == [ids("Yes" + END), ids("Perhaps, in a way"[: 30 - 16]), ids("Yes" + END)]
    long: list[Message] = [{"role": "user", "content": "Hi" * 20}]
    whole, found = tokenize_responses(tiny_tokenizer(), long, texts[:2], **lengths)
    assert len(whole) > 16
    assert (whole[-16:], *found) == tokenize_pair(tiny_tokenizer(), long, texts[0], texts[1], **lengths)[:3]
    with pytest.raises(Untokenizable, match=r"the 2\. response has no token of its own"):
        tokenize_responses(tiny_tokenizer(), USER, ["Yes", ""], **lengths)


def test_many_pairs_are_what_each_is_alone_and_problems_stand_in_their_place() -> None:
    """More than go through the tokenizer at a time, two of them not to be laid out."""
    tokenizer = tiny_tokenizer(LLAMA)
    refused: list[Message] = [{"role": "system", "content": "Be brief."}, *USER]
    pairs: list[tuple[list[Message], str, str]] = [
        ([{"role": "user", "content": f"Hi {i}"}], "Yes " * (i % 7 + 1), f"No {i}") for i in range(600)
    ]
    pairs[3] = (refused, "Yes", "No")
    pairs[590] = (USER, "Yes", "")
    found = list(tokenize_pairs(tokenizer, pairs, max_length=30, max_prompt_length=16))
    assert len(found) == 600
    for i, (pair_found, (prompt, chosen, rejected)) in enumerate(zip(found, pairs, strict=True)):
        if isinstance(pair_found, Untokenizable):
            assert (i, pair_found.rule) in {(3, "template_refuses"), (590, "empty_response")}
        else:
            assert pair_found == tokenize_pair(tokenizer, prompt, chosen, rejected, max_length=30, max_prompt_length=16)
    assert sum(isinstance(pair_found, Untokenizable) for pair_found in found) == 2
