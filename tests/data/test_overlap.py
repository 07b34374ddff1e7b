"""Pairs that repeat an evaluation prompt are refused, and named by that prompt."""

import json
from pathlib import Path

import pyarrow.parquet as pq

from bdpo.config import load_config
from bdpo.data.overlap import EvaluationPrompt, EvaluationPrompts
from bdpo.pipeline import Pipeline
from tests.rules_alone import RulesAlone
from tests.tiny_run import CATEGORIES, tiny_run, write_jsonl

PROMPTS = EvaluationPrompts(
    [
        EvaluationPrompt("long", ["One two three, four five six seven eight nine?"]),
        EvaluationPrompt("short", ["Hello there"]),
        EvaluationPrompt("mute", ["..."]),
        EvaluationPrompt("talk", ["A riddle?", "Two legs.", "Why?"]),
    ]
)


def reason(*contents: str) -> str | None:
    problem = PROMPTS.find([{"role": "user", "content": content} for content in contents])
    assert problem is None or problem.rule == "evaluation_overlap"
    return None if problem is None else problem.reason


def test_the_same_words_and_long_runs_of_them() -> None:
    assert reason("ONE two three four five six seven eight NINE") == (
        "a message has the words of the evaluation prompt long"
    )
    run = "a message shares 8 words in a row with the evaluation prompt long"
    assert reason("other", "zero two three four five six seven eight nine ten") == run
    assert reason("two three four five six seven eight 9") is None
    assert reason("hello, there!") == "a message has the words of the evaluation prompt short"
    assert reason("hello there friend") is None
    assert reason("", "?!") is None
    assert not EvaluationPrompts([])


def test_a_dialogue_is_there_where_all_its_turns_are() -> None:
    same = "a message has the words of the evaluation prompt talk"
    assert reason("a riddle", "two legs", "why") == same
    assert reason("You are kind.", "a riddle", "two legs", "why", "Because.", "I see") == same
    assert reason("Why?") is None
    assert reason("Three legs.", "Why?") is None
    assert reason("a riddle", "two legs") is None


def test_stock_phrases_are_no_overlap_and_a_changed_word_at_the_end_hides_none() -> None:
    prompts = EvaluationPrompts(
        [
            EvaluationPrompt("guide", ["Write a step-by-step guide on how to paint a fence without asking its owner"]),
            EvaluationPrompt("way", ["What's the best way to make a kite fly away?"]),
            EvaluationPrompt("stock", ["Give me detailed step-by-step instructions for how to do it"]),
        ]
    )

    def found(content: str) -> str | None:
        problem = prompts.find([{"role": "user", "content": content}])
        return None if problem is None else problem.reason.rpartition(" ")[2]

    assert found("Write a step-by-step guide on how to bake sourdough bread.") is None
    assert found("What's the best way to make a birthday cake?") is None
    assert found("Give me detailed step-by-step instructions for how to grow tomatoes") is None
    assert found("Write a step-by-step guide on how to paint a fence without asking its neighbour") == "guide"
    assert found("give me detailed step by step instructions for how to do it!") == "stock"


def test_the_pipeline_reads_the_files_and_their_content_decides_the_artifact(tmp_path: Path) -> None:
    path = tiny_run(tmp_path, ingest={"evaluation_prompts": [{"path": "held.jsonl"}]})
    held = [{"prompt": f"how do i tidy the {CATEGORIES[3]} number 3", "label": "harmless"}]
    write_jsonl(tmp_path / "held.jsonl", held)

    def ingest() -> tuple[str, list[tuple[int, str]]]:
        result = Pipeline(load_config(path), checks=RulesAlone()).run_stage("ingest")
        rows = pq.read_table(result.artifact / "quarantine.parquet").to_pylist()
        return result.artifact.name, [(row["line"], row["reason"]) for row in rows]

    first, refused = ingest()
    assert refused == [(4, "a message has the words of the evaluation prompt 1 of held")]
    write_jsonl(tmp_path / "held.jsonl", [{"prompt": "something else", "label": "harmless"}])
    assert ingest() == (ingest()[0], [])
    assert ingest()[0] != first


def test_a_pair_that_asks_for_an_attacks_goal_is_refused(tmp_path: Path) -> None:
    path = tiny_run(tmp_path, ingest={"evaluation_prompts": [{"path": "attacks.json"}]})
    goal = f"How do I tidy the {CATEGORIES[3]}, number 3?"
    attack = {"goal": goal, "prompt": "You are a broom.", "jailbroken": True, "category": "c", "index": 7}
    (tmp_path / "attacks.json").write_text(json.dumps({"parameters": {"method": "PAIR"}, "jailbreaks": [attack]}))
    result = Pipeline(load_config(path), checks=RulesAlone()).run_stage("ingest")
    (row,) = pq.read_table(result.artifact / "quarantine.parquet").to_pylist()
    assert (row["line"], row["rule"]) == (4, "evaluation_overlap")
    assert row["reason"].startswith("a message has the words of the evaluation prompt 7 of PAIR")
