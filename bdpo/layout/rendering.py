"""Chat messages to text, by a tokenizer's chat template as every prompt here is written with it.

A model is trained and asked without thoughts and on one fixed day: what a template would else leave to the
model or to the calendar is decided here, once for all stages.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables
from transformers import PreTrainedTokenizerBase

from bdpo.errors import UserError
from bdpo.layout.templates import parse_template

Message = Mapping[str, str]
"""`{"role": ..., "content": ...}`."""

PROBE = "bdpo-probe"
"""An answer whose place in a text tells what the template writes around any."""
_QUESTION = "bdpo-question"
_SAME_DAY = (
    "{%- macro strftime_now(format) -%}{{ format | replace('%d', '26') | replace('%b', 'Jul') | replace('%B', 'July') "
    "| replace('%m', '07') | replace('%y', '24') | replace('%Y', '2024') | replace('%A', 'Friday') }}{%- endmacro %}\n"
)
"""Before a template that writes today's date (Llama 3.2's, SmolLM3's): it writes that of Llama 3.2's own default, for a
pair has the same tokens every day.  Its line break is not written: the template begins a line, as it does alone."""
_NO_THINKING = {"enable_thinking": "false", "thinking_budget": "0"}
"""What the template of a model that can think is told before it begins, by the first of these switches that it has
(Qwen3's, Qwen3.5's and SmolLM3's; Seed-OSS's).  By default it asks for thoughts, and shows an answer that has none with
empty ones: the model would be trained without and asked with them."""
_OPEN_THOUGHTS = re.compile(r"<(?:\w+:)?think>\s*\Z")
_END_OF_THINKING = re.compile(r"</(?:\w+:)?think>")
_FINAL_CHANNEL = "<|channel|>final<|message|>"
_NO_ANALYSIS = f"{{%- if add_generation_prompt -%}}{_FINAL_CHANNEL}{{%- endif -%}}"
"""After a template without that switch that leaves the channel of an answer to the model (gpt-oss's), which then thinks
in another one first, and shows an answer in this."""
_OF_TEMPLATES = (
    TemplateError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    SyntaxError,
)
"""What a template may raise: Jinja's errors, those of the Python that it says, and those of Python that compiles it."""


class Untokenizable(ValueError):  # noqa: N818 (named for what the row is)
    """A row that cannot be laid out.

    `rule` is one of `prompt_not_prefix`, `empty_response`, `identical_tokens`, `template_refuses`, `thoughts`,
    `special_token`.
    """

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"{rule}: {reason}")
        self.rule = rule
        self.reason = reason


def render(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Sequence[Mapping[str, object]]],
    *,
    generate: bool = False,
) -> list[str]:
    """Conversations as the template writes them, with the beginning of an answer where `generate`.

    Raises:
        Untokenizable: the template raises an error for one of them (`template_refuses`).
    """
    return _render(tokenizer, conversations, used_template(tokenizer), generate=generate)


def _render(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Sequence[Mapping[str, object]]],
    template: str,
    *,
    generate: bool = False,
) -> list[str]:
    try:
        texts = tokenizer.apply_chat_template(
            [[dict(message) for message in messages] for messages in conversations],
            tokenize=False,
            add_generation_prompt=generate,
            chat_template=template,
        )
    except _OF_TEMPLATES as error:
        raise Untokenizable("template_refuses", f"the chat template refuses the messages: {error}") from error
    return [str(text) for text in texts]


def used_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's chat template as every prompt here is written with it: of one fixed day, and without thinking."""
    template = str(tokenizer.get_chat_template())
    switch = _switch(template)
    if switch:
        template = f"{{%- set {switch} = {_NO_THINKING[switch]} %}}\n{template}"
    if "strftime_now" in template:
        template = _SAME_DAY + template
    if not switch and _FINAL_CHANNEL in template and _leaves_channel_open(tokenizer, template):
        template += _NO_ANALYSIS
    return template


def _switch(template: str) -> str | None:
    """What a template calls the switch by which its model does not think."""
    return next((switch for switch in _NO_THINKING if switch in template), None)


@lru_cache(maxsize=16)
def _begins_with(template: str, switch: str) -> bool:
    """Whether a template takes a switch from nowhere but itself, and turns it on first (Nemotron's)."""
    try:
        tree = parse_template(template)
    except TemplateSyntaxError:
        return False
    if switch in find_undeclared_variables(tree):
        return False
    values = (_value(node, switch) for node in tree.find_all(nodes.Node))
    first = next(filter(None, values), None)
    return isinstance(first, nodes.Const) and bool(first.value)


def _value(node: nodes.Node, name: str) -> nodes.Node | None:
    """What a name, or that attribute of a namespace, is set to."""
    match node:
        case nodes.Assign(target=nodes.Name(name=target)) | nodes.Assign(target=nodes.NSRef(attr=target)):
            return node.node if target == name else None
        case nodes.Keyword(key=key):
            return node.value if key == name else None
    return None


@lru_cache(maxsize=16)
def _leaves_channel_open(tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    """Whether the model is to name the channel that the template shows an answer in."""
    try:
        asked, answered = _asked_and_answered(tokenizer, template)
    except Untokenizable:
        return False
    return answered.startswith(asked + _FINAL_CHANNEL + PROBE)


def _asked_and_answered(tokenizer: PreTrainedTokenizerBase, template: str) -> tuple[str, str]:
    """A question up to the answer that is to come, and with an answer."""
    question = {"role": "user", "content": _QUESTION}
    (asked,) = _render(tokenizer, [[question]], template, generate=True)
    (answered,) = _render(tokenizer, [[question, {"role": "assistant", "content": PROBE}]], template)
    return asked, answered


def require_answers_follow(tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a chat template with which no response can follow its prompt, before any row is read.

    Raises:
        UserError: what it writes up to an answer to come does not begin what it writes with an answer, or has the
            model think, whatever it is told.
    """
    template = str(tokenizer.get_chat_template())
    switch = _switch(template)
    if switch and _begins_with(template, switch):
        raise UserError(
            f"The tokenizer in {tokenizer.name_or_path}: its chat template turns `{switch}` on whatever it is told, "
            f"and so has its model think; copy the model's folder, set it to {_NO_THINKING[switch]} there in "
            "chat_template.jinja, and name the copy."
        )
    try:
        asked, answered = _asked_and_answered(tokenizer, used_template(tokenizer))
    except Untokenizable:
        return  # it may still take the rows, and each that it does not take says why
    prompt, whole = encode(tokenizer, asked, answered)
    before = answered.partition(PROBE)[0]
    if not _OPEN_THOUGHTS.search(asked) and (before == asked or whole[: len(prompt)] == prompt):
        return
    start = before.rfind(_QUESTION) + len(_QUESTION)
    if asked[:start] != before[:start]:
        start = 0  # the question itself is written otherwise
    raise UserError(
        f"The tokenizer in {tokenizer.name_or_path}: its chat template writes {asked[start:]!r} where "
        f"an answer is to come and {before[start:]!r} before one that is there, as those of some models that think "
        "do, so no response without thoughts can follow its prompt; copy the model's folder, let both be alike in "
        "chat_template.jinja, and name the copy."
    )


def find_thoughts(tokenizer: PreTrainedTokenizerBase, *responses: str) -> Untokenizable | None:
    """What refuses responses with thoughts to a model that would not be trained on them (`thoughts`).

    One that can think is trained and asked without, and some templates leave the thoughts of an answer out.
    """
    for response in responses:
        found = _END_OF_THINKING.search(response)
        if not found:
            continue
        if _switch(str(tokenizer.get_chat_template())):
            why = "the model is trained and asked without them"
        elif _leaves_out(tokenizer, response, response[: found.end()]):
            why = "the chat template leaves them out"
        else:
            continue
        return Untokenizable("thoughts", f"a response has thoughts ({found[0]}), and {why}")
    return None


def _leaves_out(tokenizer: PreTrainedTokenizerBase, response: str, part: str) -> bool:
    """Whether the template writes a response without some part, white space aside."""
    conversation = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": response}]
    try:
        (written,) = render(tokenizer, [conversation])
    except Untokenizable:
        return False  # which is said of the row itself
    return "".join(part.split()) not in "".join(written.split())


def why_not_prefix(tokenizer: PreTrainedTokenizerBase, prompt: Sequence[Message], response: str) -> str:
    """Why the tokens of a prompt do not begin those of prompt plus response, which the template takes both."""
    (asked,) = render(tokenizer, [prompt], generate=True)
    (answered,) = render(tokenizer, [[*prompt, {"role": "assistant", "content": response}]])
    if answered.startswith(asked + response):
        return "the response's first characters join the prompt's last token"
    if _END_OF_THINKING.search(response):
        return "the chat template begins a response with thoughts otherwise than one without"
    roles = ", ".join(dict.fromkeys(message["role"] for message in prompt))
    return f"the chat template writes these turns ({roles}) otherwise once a response follows"


def encode(tokenizer: PreTrainedTokenizerBase, *texts: str) -> list[tuple[int, ...]]:
    """Token ids of texts that hold every special token themselves."""
    if not texts:
        return []
    encoded = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False)
    return [tuple(ids) for ids in encoded["input_ids"]]
