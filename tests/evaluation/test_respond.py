"""What one model makes of prompts that its template or its length does not take."""

from pathlib import Path

from bdpo.config import ModelSettings
from bdpo.evaluation.formats import Prompt
from bdpo.evaluation.respond import Answers, Respondent, Task
from bdpo.layout.chat import tokenize_prompt
from bdpo.models.source import resolve_model
from tests.said import Said
from tests.tiny import CHATML, tiny_model, tiny_tokenizer

_PARTICULAR = "{% for m in messages %}{% if 'odd' in m['content'] %}{{ raise_exception('no') }}{% endif %}{% endfor %}"


def answered(folder: Path, prompts: list[Prompt], said: Said, template: str = CHATML) -> Answers:
    tiny_model().save_pretrained(folder / "model")
    tiny_tokenizer(template).save_pretrained(folder / "model")
    model = str(folder / "model")
    settings = ModelSettings(path=model, dtype="float32", max_length=256, max_prompt_length=64)
    respondent = Respondent("base", resolve_model(model), settings, folder / "cache", folder, said)
    return respondent.answer([Task(prompt, 4) for prompt in prompts], [], batch_size=2)


def test_a_prompt_that_the_template_refuses_has_no_text_and_stops_no_other(tmp_path: Path) -> None:
    prompts = [Prompt(str(i), text, "harmful", None) for i, text in enumerate(["one", "odd", "two", "odd too"])]
    prompts.append(Prompt("4", "odd", "choice", None, "a", ("a", "b")))
    replies = answered(tmp_path, prompts, Said(), _PARTICULAR + CHATML).replies
    assert [reply.text is None for reply in replies] == [False, True, False, True, True]
    assert len({reply.key for reply in replies}) == 5


def test_a_prompt_that_loses_its_beginning_is_counted_and_said(tmp_path: Path) -> None:
    room = 64 - len(tokenize_prompt(tiny_tokenizer(), [{"role": "user", "content": ""}]))
    prompts = [Prompt(str(n), "x" * n, "harmless", None) for n in (room, room + 1, 90)]
    prompts.append(Prompt("choice", "y" * 90, "choice", None, "a", ("a", "b")))
    said = Said()
    found = answered(tmp_path, prompts, said)
    assert [reply.cut for reply in found.replies] == [False, True, True, True]
    assert said.texts == [
        "evaluate: the base model is on the CPU",
        "evaluate: 3 of 4 prompts are longer than model.max_prompt_length, 64 tokens: the base model is asked "
        "without their beginning",
    ]
