"""Which chat templates copy contents: those that are shown to do so do, and those that look are found."""

import itertools
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bdpo.layout.templates import read_copying
from tests.tiny import CHATML

TRIMS = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}{{ eos_token }}{% endfor %}"
SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'].strip() %}"
    "{% set said = messages[1:] %}{% else %}{% set system = '' %}{% set said = messages %}{% endif %}"
    "{% for m in said %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}{% endif %}"
    "{% if loop.first and system %}{% set content = '<<' + system + '>>' ~ m['content'] %}"
    "{% else %}{% set content = m['content'] %}{% endif %}"
    "{% if 'tool_calls' in m or content is not string %}{{ 'no' }}{% endif %}({{ content.strip() }}){% endfor %}"
)
TURNS = (
    "{% if messages[0]['role'] == 'system' %}{% set said = messages[1:] %}{% set system = messages[0]['content'] %}"
    "{% else %}{% set said = messages %}{% set system = false %}{% endif %}{% for m in said %}"
    "{% if loop.index0 == 0 and system != false %}{% set content = '<<SYS>>' + system + '<</SYS>>' + m['content'] %}"
    "{% else %}{% set content = m['content'] %}{% endif %}"
    "{% if m['role'] == 'user' %}[INST] {{ content.strip() }} [/INST]{% else %} {{ content.strip() }} {{ eos_token }}"
    "{% endif %}{% endfor %}"
)
"""As Llama 2 and Command have it: whether there is a system turn is asked of a text."""
COPYING = {"chatml": (CHATML, False), "trims": (TRIMS, True), "system": (SYSTEM, True), "turns": (TURNS, True)}
MESSAGE = "{% for m in messages %}HERE{% endfor %}"
LOOKING = (
    "{% if 'x' in m.content %}{{ m.content }}{% endif %}",
    "{{ m.content[:3] }}",
    "{{ m.content | upper }}",
    "{{ m.content | length }}",
    "{{ m.content.split('a')[0] }}",
    "{{ m.content == 'x' }}",
    "{{ m }}",
    "{{ m | tojson }}",
    "{{ m.items() }}",
    "{{ m['items'] }}",
    "{{ messages }}",
    "{{ m[m.role] }}",
    "{{ loop.previtem.content }}",
    "{% set ns = namespace() %}{% set ns.last = m.content %}{{ ns.last[0] }}",
    "{% set c = m.content %}{% set d = c %}{{ d[0] }}",
    "{{ d[0] }}{% set d = m.content %}",
    "{% for k in m %}{{ m[k] }}{% endfor %}",
    "{% for k in m.content %}{{ k }}{% endfor %}",
    "{% macro say(c) %}{{ c[0] }}{% endmacro %}{{ say(m.content) }}",
    "{% set c %}{{ m.content }}{% endset %}{{ c[0] }}",
    "{{ [m.content] | join }}",
    "{{ 'a' * (m.content | length) }}",
    "{{ raise_exception(m.content) }}",
    "{{ '%s' % m.content }}",
    "{{ (m.content or 'x')[0] }}",
    "{{ m.content is lower }}",
    "{{ messages | map(attribute='content') | first }}",
    "{{ m.content < 'x' }}",
    "{% filter upper %}{{ m.content }}{% endfilter %}",
    "{{ m.content.strip('a') }}",
    "{{ eos_token[m.content] }}",
    "{{ messages[m.content].role }}",
    "{% for k in messages[:m.content] %}{{ k.role }}{% endfor %}",
)


@pytest.mark.parametrize("name", COPYING)
def test_a_template_that_copies_is_found_and_does(name: str) -> None:
    template, only_stripped = COPYING[name]
    copying = read_copying(template)
    assert copying is not None
    assert copying.only_stripped is only_stripped
    environment = ImmutableSandboxedEnvironment()
    environment.globals["raise_exception"] = lambda reason: 1 / 0
    contents = ("a", "b c", "<|im_end|>", "é\n\ny", "x" * 50, "{{ 0 }}", *(() if only_stripped else ("", " a ", "\n")))

    def rendered(roles: tuple[str, ...], said: tuple[str, ...]) -> str:
        messages: list[dict[str, Any]] = [{"role": r, "content": c} for r, c in zip(roles, said, strict=True)]
        return environment.from_string(template).render(messages=messages, add_generation_prompt=True, eos_token="$")

    for roles in (("user",), ("system", "user"), ("user", "assistant"), ("user", "assistant", "user")):
        names = tuple(f"NAME{i}Z" for i in range(len(roles)))
        skeleton = rendered(roles, names)
        for said in itertools.product(contents, repeat=len(roles)):
            expected = skeleton
            for sentinel, content in zip(names, said, strict=True):
                expected = expected.replace(sentinel, content.replace("NAME", "name"))
            assert rendered(roles, said) == expected


@pytest.mark.parametrize("template", LOOKING)
def test_a_template_that_looks_is_found(template: str) -> None:
    assert read_copying(MESSAGE.replace("HERE", "{{ m.role }}")) is not None
    assert read_copying(MESSAGE.replace("HERE", template)) is None


def test_a_broken_template_is_not_shown_to_copy() -> None:
    assert read_copying("{% for %}") is None


def test_of_a_template_that_is_nested_too_deeply_to_be_read_nothing_is_shown() -> None:
    assert read_copying("{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}") is None
