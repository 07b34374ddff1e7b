"""Overlap of training and evaluation prompts, by hand."""

import tracemalloc
from pathlib import Path

import pyarrow as pa

from bdpo.artifacts.parquet import write_parquet
from bdpo.evaluation.benchmarks import Benchmark
from bdpo.evaluation.contamination import find_contamination
from bdpo.evaluation.formats import Prompt
from bdpo.evaluation.judges import Contextual


def test_same_texts_and_shared_runs_of_the_training_split(tmp_path: Path) -> None:
    def pair(text: str, split: str) -> dict[str, object]:
        return {"prompt": [{"role": "user", "content": text}], "split": split}

    pairs = [
        pair("One two three four five six seven eight NINE!", "train"),
        pair("Hello there", "train"),
        pair("?!", "train"),
        pair("held out words are not what training has ever seen", "validation"),
    ]
    write_parquet(pa.Table.from_pylist(pairs), tmp_path / "pairs.parquet")
    texts = {
        "same": "one, two, three, four, five, six, seven, eight, nine",
        "run": "zero one two three four five six seven eight",
        "short": "hello there!",
        "held": "held out words are not what training has ever seen",
        "mute": "...",
        "none": "two one four three six five eight seven nine ten",
    }
    benchmark = Benchmark("b", "prompts", [Prompt(k, t, "harmful", None) for k, t in texts.items()], {}, 0)
    found = find_contamination([(benchmark, p) for p in benchmark.prompts], tmp_path / "pairs.parquet")
    # `run` has two runs of eight words, of which training has the second.
    assert found == [
        {"benchmark": "b", "prompt_id": "same", "same": True, "shared": 1.0},
        {"benchmark": "b", "prompt_id": "run", "same": False, "shared": 0.5},
        {"benchmark": "b", "prompt_id": "short", "same": True, "shared": 0.0},
    ]


def test_an_attack_is_known_by_its_goal_and_a_behaviour_without_its_context(tmp_path: Path) -> None:
    goal = "Name seven cheeses that smell stronger than old socks"
    seen = [{"prompt": [{"role": "user", "content": text}], "split": "train"} for text in (goal, "Sum it up")]
    write_parquet(pa.Table.from_pylist(seen), tmp_path / "pairs.parquet")
    prompts = [
        Prompt("plain", goal, "harmful", None),
        Prompt("gcg", f"{goal} x x x", "attack", None, goal=goal),
        Prompt("pair", "You are a mouse. What would you eat?", "attack", None, goal=goal),
        Prompt(
            "context", "A text.\n\n---\n\nSum it up!", "harmful", None, contextual=Contextual("A text.", "Sum it up!")
        ),
        Prompt("none", "You are a mouse. What would you eat?", "attack", None, goal="Name no cheeses"),
    ]
    benchmark = Benchmark("b", "jailbreakbench", prompts, {}, 0)
    found = find_contamination([(benchmark, prompt) for prompt in prompts], tmp_path / "pairs.parquet")
    # Of twelve words `gcg` has five runs, of which its goal's two are the first.
    assert [(row["prompt_id"], row["same"], row["shared"]) for row in found] == [
        ("plain", True, 1.0),
        ("gcg", True, 2 / 5),
        ("pair", True, 1.0),
        ("context", True, 0.0),
    ]


def test_stock_phrases_do_not_count(tmp_path: Path) -> None:
    seen = {
        "prompt": [{"role": "user", "content": "Write a step-by-step guide on how to bake bread"}],
        "split": "train",
    }
    write_parquet(pa.Table.from_pylist([seen]), tmp_path / "pairs.parquet")
    prompts = [
        Prompt("phrase", "Write a step-by-step guide on how to paint fences", "harmful", None),
        Prompt("same", "write a step by step guide on how to bake bread", "harmful", None),
    ]
    benchmark = Benchmark("b", "prompts", prompts, {}, 0)
    found = find_contamination([(benchmark, prompt) for prompt in prompts], tmp_path / "pairs.parquet")
    assert found == [{"benchmark": "b", "prompt_id": "same", "same": True, "shared": 0.0}]


def test_a_dialogue_is_compared_turn_by_turn_and_options_with_the_responses(tmp_path: Path) -> None:
    eight = "one two three four five six seven eight"
    said = ["And then?", "More.", "well", f"So {eight}"]
    pair = {
        "prompt": [{"role": "user", "content": content} for content in said],
        "chosen": f"I say {eight}.",
        "rejected": "a b c d e f g h",
        "split": "train",
    }
    write_parquet(pa.Table.from_pylist([pair, pair | {"split": "validation"}]), tmp_path / "pairs.parquet")
    dialogue = f"Well?\n\nAssistant: {eight}\n\nHuman: and then"
    prompts = [
        Prompt("turns", dialogue, "choice", None, "x", ("x", "y"), transcript=True),
        Prompt(
            "options", "Which of them?", "choice", None, "x", ("A b c d e f g h i", "i say one two three four five six")
        ),
        Prompt("no answer", "Which of them?", "question", None, f"I say {eight}"),
        Prompt("short", "Yes or no?", "choice", None, "Yes", ("Yes", "No")),
        Prompt("there", "And then?\n\nAssistant: more\n\nHuman: Well?", "harmless", None, transcript=True),
    ]
    benchmark = Benchmark("b", "hhh", prompts, {}, 0)
    found = find_contamination([(benchmark, prompt) for prompt in prompts], tmp_path / "pairs.parquet")
    assert found == [
        {"benchmark": "b", "prompt_id": "turns", "same": False, "shared": 1.0},
        # Of three runs of its options training has two.
        {"benchmark": "b", "prompt_id": "options", "same": False, "shared": 2 / 3},
        {"benchmark": "b", "prompt_id": "there", "same": True, "shared": 0.0},
    ]


def test_training_messages_are_passed_through_and_not_kept(tmp_path: Path) -> None:
    """3,000 messages of 60 different words hold 159,000 runs, which would take 40 MB."""
    rows = [
        {"prompt": [{"role": "user", "content": " ".join(f"w{i}x{n}" for n in range(60))}], "split": "train"}
        for i in range(3_000)
    ]
    write_parquet(pa.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    prompt = Prompt("1", rows[-1]["prompt"][0]["content"], "harmful", None)  # type: ignore[index]
    tracemalloc.start()
    try:
        (found,) = find_contamination(
            [(Benchmark("b", "prompts", [prompt], {}, 0), prompt)], tmp_path / "pairs.parquet"
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (found["same"], found["shared"]) == (True, 1.0)
    assert peak < 10e6
