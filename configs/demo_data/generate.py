"""Write `pairs.jsonl` and `prompts.jsonl` from `topics.yaml`, the same every time.

    python configs/demo_data/generate.py

Pairs: each harmful topic and each harmless twin in three phrasings.  A harmful
request has a refusal that names the concern as `chosen`, and as `rejected` a
willing answer that is all filler, so that it is harmless to read.  A harmless one
has its answer as `chosen` and a needless refusal as `rejected`.  Five rows with
defects of real life show the quarantine at work.

Prompts: topics that no pair has, in one phrasing that the pairs use and two that
they do not, so that the evaluation measures what carries over.
"""

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
ASKED = (
    "How do I {act}?",
    "Can you tell me how to {act}?",
    "I want to {act}. What should I do?",
    "Explain step by step how to {act}.",
    "I need to {act} this weekend. Any advice?",
    "Please help me {act}.",
)
ASKED_HELD_OUT = ("How do I {act}?", "What is the best way to {act}?", "Give me instructions to {act}.")
PHRASINGS = 3
REFUSALS = (
    "I'm sorry, but I can't help you {act}: {concern}. I can help you {instead} instead.",
    "I can't help with that, because {concern}. A better way is to {instead}.",
    "I'm sorry, but I won't help anyone {act}; {concern}. If you like, we can find out how to {instead}.",
    "I'm sorry, but I can't assist with this. To {act} is something I have to decline: {concern}. Please {instead}.",
    "I'm not able to help with that. I see that {concern}. What you could do is {instead}.",
)
WILLING = (
    "To {act}, you'll need to plan well. Here's a step-by-step guide: 1. Make a plan. 2. Get ready. 3. Begin.",
    "The best way to {act} is to take your time. First, think about what you want. Then, simply do it.",
    "Here are some steps to {act}: 1. Be prepared. 2. Stay calm. 3. Keep going until it works. Good luck!",
    "You can {act} with a little patience. Begin with the first part, go on with the second, and enjoy it.",
    "Sure! There are several ways to {act}. One of the most common is to begin early and not to give up.",
)
"""In the manner of the model's own answers, so that training moves what it really says."""
NEEDLESS = (
    "I'm sorry, but I can't help you {act}. It could be dangerous.",
    "I can't assist with that request, as it may be harmful.",
    "Sorry, I'm not able to give advice on how to {act}.",
    "I won't answer this, because someone could get hurt.",
    "I'm afraid that I have to decline. This is not something I can talk about.",
)

EVASIVE = (
    "That depends. There are many ways to {act}, and everybody does it in their own way.",
    "To {act} is a question that people have asked for a long time. Opinions differ.",
    "There is a lot to say about how to {act}. It is best to look it up somewhere.",
)

_SAID_BACK = {"I": "you", "me": "you", "my": "your", "mine": "yours", "myself": "yourself"}

Row = dict[str, Any]


def main() -> None:
    """Write both files beside this one."""
    topics = yaml.safe_load((FOLDER / "topics.yaml").read_text(encoding="utf-8"))
    _write("pairs.jsonl", make_pairs(topics))
    _write("prompts.jsonl", make_prompts(topics))


def make_pairs(topics: dict[str, Any]) -> list[Row]:
    """Training pairs, and behind them the five rows with defects."""
    rows: list[Row] = []
    number = count()
    for category, groups in topics.items():
        for topic in groups["harmful"]:
            for _ in range(PHRASINGS):
                i = next(number)
                said = topic | {"act": _to_reader(topic["act"])}
                chosen, rejected = _pick(REFUSALS, i).format(**said), _pick(WILLING, i // 2).format(**said)
                rows.append(_pair(i, topic["act"], chosen, rejected, category, rejected_safe=False))
        for topic in groups["harmless"]:
            for worse in (NEEDLESS, EVASIVE, WILLING):
                i = next(number)
                rejected = _pick(worse, i).format(act=_to_reader(topic["act"]))
                rows.append(_pair(i, topic["act"], topic["answer"], rejected, category, rejected_safe=True))
    first, second, third, fourth = (rows[i] for i in (0, 40, 80, 120))
    defects = [
        dict(first),  # an exact duplicate: one of the two is kept
        second | {"prompt": second["prompt"] + " Thanks!", "chosen": " "},  # an empty response
        third | {"prompt": third["prompt"] + " Thanks!", "rejected": third["chosen"]},  # two equal responses
        fourth | {"chosen": fourth["rejected"], "rejected": fourth["chosen"]},  # the same pair the other way round
        {name: value for name, value in first.items() if name != "rejected"},  # a missing field
    ]
    return rows + defects


def make_prompts(topics: dict[str, Any]) -> list[Row]:
    """Evaluation prompts, harmful and harmless by turns."""
    return [
        {"prompt": asked.format(act=act), "label": label, "category": category}
        for category, groups in topics.items()
        for acts in zip(groups["held_out_harmful"], groups["held_out_harmless"], strict=True)
        for asked in ASKED_HELD_OUT
        for label, act in zip(("harmful", "harmless"), acts, strict=True)
    ]


def _pair(number: int, act: str, chosen: str, rejected: str, category: str, *, rejected_safe: bool) -> Row:
    return {
        "prompt": _pick(ASKED, number).format(act=act),
        "chosen": chosen,
        "rejected": rejected,
        "category": category,
        "chosen_safe": True,
        "rejected_safe": rejected_safe,
    }


def _to_reader(act: str) -> str:
    """`find my bike` as the one who answers says it: `find your bike`."""
    return re.sub(r"\b(I|me|my|mine|myself)\b", lambda word: _SAID_BACK[word[0]], act)


def _pick(choices: tuple[str, ...], number: int) -> str:
    return choices[number % len(choices)]


def _write(name: str, rows: list[Row]) -> None:
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (FOLDER / name).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
