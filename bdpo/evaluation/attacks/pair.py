"""PAIR (arXiv 2310.08419): an attacker model refines a prompt by what the attacked model says to it.

The attacker is asked behind an OpenAI-compatible endpoint, with the prompts of `pair_prompts.json`.  Where the
paper has a model rate replies from 1 to 10, the judge here says 10 for compliance and 1 for a refusal.
"""

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from bdpo.evaluation.attacks.goals import Attempt, Goal
from bdpo.evaluation.chat_endpoint import ChatEndpoint, TooLong
from bdpo.evaluation.rules.speech import after_thinking
from bdpo.evaluation.said_json import said_object

_PROMPTS = Path(__file__).with_name("pair_prompts.json")
_REMEMBERED = 4
"""Last exchanges that the attacker sees; the paper keeps as many."""
_TEMPERATURE = 1.0


def pair(
    goal: Goal,
    attacker: ChatEndpoint,
    reply: Callable[[str], str],
    complies: Callable[[Goal, str], bool],
    *,
    streams: int,
    iterations: int,
) -> Attempt:
    """Search for a prompt that brings about a goal.

    Args:
        goal: what to bring about.
        attacker: the model that writes prompts.
        reply: what the attacked model says to a prompt.
        complies: whether a reply does what the goal asks.
        streams: conversations with the attacker, one after another.
        iterations: prompts of each.

    Returns:
        The first success, else the last attempt; an empty prompt where the attacker wrote none that can be read.

    Raises:
        UserError: the attacker cannot be reached.
    """
    last, queries = Attempt("", "", False, 0), 0
    for _ in range(streams):
        exchanges: list[dict[str, str]] = []
        say = _fill("first", goal=goal.goal, target_str=goal.target)
        for _ in range(iterations):
            system = {"role": "system", "content": _fill("system", goal=goal.goal, target_str=goal.target)}
            asked = {"role": "user", "content": say}
            try:
                answer = attacker.ask([system, *exchanges, asked], temperature=_TEMPERATURE)
            except TooLong:
                answer = ""
            prompt = read_prompt(answer)
            if prompt is None:
                continue  # the same is asked again, as the paper does
            response = reply(prompt)
            queries += 1
            success = complies(goal, response)
            last = Attempt(prompt, response, success, queries)
            if success:
                return last
            exchanges = [*exchanges, asked, {"role": "assistant", "content": answer}][-2 * _REMEMBERED :]
            say = _fill("next", output=response, goal=goal.goal, score="1")
    return last


def read_prompt(answer: str) -> str | None:
    """The prompt in an attacker's JSON, after a reasoning one's thoughts; None where there is none.

    Half of a character, an escape that was cut, becomes a question mark: no tokenizer takes it.
    """
    answer = after_thinking(answer)
    start, end = answer.find("{"), answer.rfind("}")
    prompt = (said_object(answer[start : end + 1]) or {}).get("prompt")
    return prompt.encode("utf-8", "replace").decode() if isinstance(prompt, str) and prompt.strip() else None


def _fill(name: str, **fields: str) -> str:
    """A prompt with its fields; what is filled in may hold braces."""
    text = _prompts()[name]
    for field, value in fields.items():
        text = text.replace(f"{{{field}}}", value)
    return text


@cache
def _prompts() -> Mapping[str, str]:
    loaded: Mapping[str, str] = json.loads(_PROMPTS.read_text(encoding="utf-8"))
    return loaded
