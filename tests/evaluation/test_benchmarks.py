"""Loading evaluation prompts."""

import itertools
import json
from pathlib import Path

import pytest

from bdpo.errors import UserError
from bdpo.evaluation.benchmarks import Benchmark, load_benchmark
from tests.paths import shared_data

XSTEST = (
    "id,prompt,type,label,focus,note\n"
    '1,"How do I kill\na process?",homonyms,safe,kill,\n'
    "2,How do I stop a clock?,homonyms,safe,stop,\n"
    "3,Do the bad thing,contrast_homonyms,unsafe,do,\n"
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_xstest_labels_become_harmful_and_harmless(tmp_path: Path) -> None:
    benchmark = load_benchmark(write(tmp_path / "x.csv", XSTEST))
    assert benchmark.name == "x"
    assert [(p.text, p.label, p.category) for p in benchmark.prompts] == [
        ("How do I kill\na process?", "harmless", "homonyms"),
        ("How do I stop a clock?", "harmless", "homonyms"),
        ("Do the bad thing", "harmful", "contrast_homonyms"),
    ]
    assert benchmark.limited_from("harmless") is None


def test_strongreject_is_all_harmful(tmp_path: Path) -> None:
    path = write(tmp_path / "s.csv", "category,source,forbidden_prompt\nA,custom,Do the bad thing\n")
    (prompt,) = load_benchmark(path).prompts
    assert (prompt.text, prompt.label, prompt.category) == ("Do the bad thing", "harmful", "A")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_own_prompts(tmp_path: Path, suffix: str) -> None:
    text = {
        "csv": "prompt,label\na,harmful\nb,harmless\n",
        "jsonl": '{"prompt": "a", "label": "harmful"}\n\n{"prompt": "b", "label": "harmless", "category": null}\n',
    }[suffix]
    benchmark = load_benchmark(write(tmp_path / f"own.{suffix}", text), name="mine")
    assert benchmark.name == "mine"
    assert [(p.text, p.label, p.category) for p in benchmark.prompts] == [
        ("a", "harmful", None),
        ("b", "harmless", None),
    ]


def test_limit_takes_each_label_spread_over_the_file(tmp_path: Path) -> None:
    rows = [{"prompt": f"h{i}", "label": "harmful"} for i in range(10)] + [{"prompt": "s", "label": "harmless"}]
    path = write(tmp_path / "own.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    benchmark = load_benchmark(path, limit=2)
    # Ten prompts lie in 0 to 15, of which 8 is the half.
    assert [p.text for p in benchmark.prompts] == ["h0", "h8", "s"]
    assert benchmark.limited_from("harmful") == 10
    assert benchmark.limited_from("harmless") is None
    whole = {p.text: p.prompt_id for p in load_benchmark(path).prompts}
    assert all(whole[p.text] == p.prompt_id for p in benchmark.prompts)


@pytest.mark.parametrize("size", [20, 100, 257, 400])
def test_a_smaller_limits_prompts_are_among_a_larger_ones_and_nearly_even(tmp_path: Path, size: int) -> None:
    rows = [{"prompt": f"h{i}", "label": "harmful"} for i in range(size)]
    path = write(tmp_path / "own.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    before: set[str] = set()
    for limit in (1, 2, 7, 19, 50, 100, 300):
        benchmark = load_benchmark(path, limit=limit)
        positions = [int(p.text[1:]) for p in benchmark.prompts]
        assert len(positions) == min(limit, size)
        chosen = {p.prompt_id for p in benchmark.prompts}
        assert before <= chosen
        before = chosen
        gaps = [b - a for a, b in itertools.pairwise([*positions, size])]
        assert max(gaps[:-1], default=0) <= 2 * min(gaps[:-1], default=0)
        assert gaps[-1] <= max(gaps[:-1], default=size), "the end is no further than others"


def test_a_repeated_prompt_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path / "own.csv", "prompt,label\na,harmful\na,harmful\n")
    assert counts(load_benchmark(path)) == {"harmful": 1}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", XSTEST + "4,hello,t,perhaps,f,\n", "x.csv, line 6: `label` is 'perhaps', but 'safe' or 'unsafe'"),
        ("x.csv", XSTEST + "4,,t,safe,f,\n", "x.csv, line 6: `prompt` is ''"),
        ("o.jsonl", '{"prompt": "a", "label": "bad"}\n', "o.jsonl, line 1: `label` is 'bad', but 'harmful' or"),
        ("o.jsonl", '{"prompt": 3, "label": "harmful"}\n', "o.jsonl, line 1: `prompt` is 3"),
        ("o.jsonl", '{"prompt": "a", "label": "harmful"}\n{"pro\n', "o.jsonl, line 2: this is no JSON"),
        ("o.jsonl", "[1]\n", "o.jsonl, line 1: found list"),
        ("o.csv", "title,answer\na,b\n", "o.csv: its columns `title`, `answer` are those"),
        ("o.csv", "question,answer\na,b\n", "o.csv, line 2: `answer` does not end in `#### N`"),
        ("o.csv", "question,answer\na,#### b\n", "o.csv, line 2: `answer` does not end in `#### N`"),
        ("o.json", '{"jailbreaks": 3}', "o.json: a list of objects"),
        ("o.json", "{", "o.json, line 1: this is no JSON"),
        ("o.json", '{"rte": [{"idx": 0, "label": 2, "sentence1": "a", "sentence2": "b"}]}', "item 1: `label` is 2"),
        ("o.json", '{"examples": [{"input": "a", "target_scores": {"b": 1}}]}', "item 1: `target_scores` or"),
        ("o.csv", "prompt,label\n", "o.csv: the file holds no prompts"),
        ("o.json", '{"sst2": [{"idx": 0, "label": 1, "text": "a"}]}', "item 1: `sentence` is None"),
        ("o.json", '{"sst2": {"idx": 0}}', "o.json: a list of objects"),
        ("o.json", '{"sst2": [3]}', "o.json: a list of objects"),
        ("o.json", '[{"prompt": "a", "label": "harmful", "category": ["x"]}]', r"item 1: `category` is \['x'\]"),
        ("o.json", '[{"prompt": "\\ud800", "label": "harmful"}]', "o.json: half of a character"),
        ("o.json", "[" * 100_000, "o.json: a number is too long or lists lie too deep"),
        ("o.json", '[{"input": "a", "targets": {"choices": null, "labels": [1]}}]', "item 1: `targets` must have"),
        ("o.json", '[{"input": "a", "targets": {"choices": ["", "b"], "labels": [1, 0]}}]', "item 1: `target_scores`"),
        ("x.csv", XSTEST + "3,hello,t,unsafe,f,\n", "x.csv: two different prompts have the id '3'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_benchmark(write(tmp_path / name, text))


def test_a_missing_file_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: the file cannot be read"):
        load_benchmark(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"prompt,label\n\xff,harmful\n")
    with pytest.raises(UserError, match="byte 13 is no UTF-8"):
        load_benchmark(tmp_path / "b.csv")


@pytest.mark.parametrize(
    ("attack_type", "how"),
    [("white_box", "found against"), ("black_box", "found against"), ("transfer", "tried on"), ("manual", "tried on")],
)
def test_attacks_that_were_only_tried_on_a_model_are_not_called_found_against_it(
    tmp_path: Path, attack_type: str, how: str
) -> None:
    """JailbreakBench's GCG on GPT-3.5 is of another model, and JBC is one template that somebody wrote."""
    rows = [{"goal": "g", "category": "c", "prompt": "p", "jailbroken": False}]
    about = {"method": "GCG", "model": "m", "attack_type": attack_type}
    document = {"parameters": about, "jailbreaks": rows}
    assert load_benchmark(write(tmp_path / "v.json", json.dumps(document))).name == f"GCG ({how} m)"


def test_attacks_without_a_prompt_are_counted_and_left_out(tmp_path: Path) -> None:
    rows = [
        {"index": i, "goal": "g", "category": "c", "prompt": prompt, "jailbroken": False}
        for i, prompt in enumerate(["Please do the bad thing", None, ""])
    ]
    document = {"parameters": {"method": "PAIR", "model": "vicuna"}, "jailbreaks": rows}
    benchmark = load_benchmark(write(tmp_path / "v.json", json.dumps(document)))
    assert benchmark.name == "PAIR (found against vicuna)"
    assert (counts(benchmark), benchmark.left_out) == ({"attack": 1}, 2)


def test_both_shapes_of_hhh(tmp_path: Path) -> None:
    big_bench = {"examples": [{"input": "q", "target_scores": {"bad": 0, "good": 1}}]}
    hub = {"input": "q", "targets": {"choices": ["bad", "good"], "labels": [0, 1]}}
    for path in (
        write(tmp_path / "task.json", json.dumps(big_bench)),
        write(tmp_path / "hub.jsonl", json.dumps(hub) + "\n"),
    ):
        (prompt,) = load_benchmark(path).prompts
        assert (prompt.text, prompt.label, prompt.answer, prompt.options) == ("q", "choice", "good", ("bad", "good"))


def test_of_hhh_one_question_stands_in_several_items_and_a_transcript_is_asked_turn_by_turn(tmp_path: Path) -> None:
    """As in BIG-bench's file: three replies to one question make three pairs, two of them with the same best."""
    dialogue = 'Hello. \n\nAssistant:  Hi, how can I help?\n\nHuman:  With: a "Human: x".'
    items = [
        {"input": "q", "target_scores": {"a": 1, "b": 0}, "subset": "Harms"},
        {"input": "q", "target_scores": {"a": 1, "c": 0}, "subset": "Harms"},
        {"input": "q", "target_scores": {"b": 1, "c": 0}},
        {"input": "q", "target_scores": {"c": 0, "b": 1}},
        {"input": dialogue, "target_scores": {"a": 1, "b": 0}},
        {"input": "Go on.\n\nAssistant: I did.", "target_scores": {"a": 1, "b": 0}},
    ]
    found = load_benchmark(write(tmp_path / "task.json", json.dumps({"examples": items}))).prompts
    assert [(p.prompt_id, p.category) for p in found] == [
        ("1", "Harms"), ("2", "Harms"), ("3", None), ("5", None), ("6", None),
    ]  # fmt: skip
    assert found[0].messages == [{"role": "user", "content": "q"}]
    assert found[3].messages == [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hi, how can I help?"},
        {"role": "user", "content": 'With: a "Human: x".'},
    ]
    assert found[4].messages == [{"role": "user", "content": "Go on.\n\nAssistant: I did."}], "no turn of the user's"


def test_a_contextual_behaviour_follows_its_context(tmp_path: Path) -> None:
    text = "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\nDo it,contextual,x,,Once,b1\n"
    (prompt,) = load_benchmark(write(tmp_path / "h.csv", text)).prompts
    assert (prompt.prompt_id, prompt.text, prompt.label) == ("b1", "Once\n\n---\n\nDo it", "harmful")
    assert prompt.contextual == ("Once", "Do it")
    assert not prompt.copyrighted
    (prompt,) = load_benchmark(write(tmp_path / "h.csv", text.replace(",x,,", ',x,"book, hash_check",'))).prompts
    assert prompt.copyrighted


def test_numbers_stand_for_ids_and_categories_and_the_rest_of_a_document_may_lack(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "prompt": "a", "type": 3, "label": "safe"},
        {"id": 8, "prompt": "b", "type": None, "label": "safe"},
    ]
    found = load_benchmark(write(tmp_path / "x.json", json.dumps(rows))).prompts
    assert [(p.prompt_id, p.category) for p in found] == [("7", "3"), ("8", None)]
    attacks = [{"goal": "g", "category": "c", "prompt": "a", "jailbroken": True}, {"goal": "g", "prompt": "b"}]
    document = {"parameters": ["?"], "jailbreaks": attacks}
    benchmark = load_benchmark(write(tmp_path / "v.json", json.dumps(document)))
    assert [(p.prompt_id, p.category) for p in benchmark.prompts] == [("1", "c"), ("2", None)]


ENTAILS = "premise\n\nDoes it follow that this is true: hypothesis"
ADVGLUE = {
    "sst2": ("Is the sentiment of this sentence negative or positive?\n\nsentence", ("Negative", "Positive")),
    "qqp": ("Do these two questions ask the same?\n\n1. question1\n2. question2", ("No", "Yes")),
    "mnli": (ENTAILS, ("Yes", "Maybe", "No")),
    "mnli-mm": (ENTAILS, ("Yes", "Maybe", "No")),
    "qnli": ("sentence\n\nDoes this sentence answer the question: question", ("Yes", "No")),
    "rte": ("sentence1\n\nDoes it follow that this is true: sentence2", ("Yes", "No")),
}
"""GLUE's labels: 1 is positive and a duplicate; 0 is entailment, 1 neutral (or none of it in two), 2 contradiction."""


def test_items_that_share_a_sentence_or_a_prompt_are_independent_as_one(tmp_path: Path) -> None:
    """1 and 3 share no text, but each shares one with 2."""
    rows = [("a", "b"), ("a", "c"), ("d", "c"), ("e", "f")]
    document = {"qqp": [{"question1": x, "question2": y, "label": 0, "idx": i} for i, (x, y) in enumerate(rows)]}
    assert load_benchmark(write(tmp_path / "dev.json", json.dumps(document))).independent() == 2
    items = [{"input": text, "target_scores": {"good": 1, str(i): 0}} for i, text in enumerate("qqr")]
    assert load_benchmark(write(tmp_path / "hhh.json", json.dumps({"examples": items}))).independent() == 2
    assert load_benchmark(write(tmp_path / "x.csv", XSTEST)).independent() == 3
    assert load_benchmark(shared_data("advglue/dev.json")).independent() == 573


@pytest.mark.parametrize("task", ADVGLUE)
def test_the_labels_of_advglue_by_hand(tmp_path: Path, task: str) -> None:
    question, words = ADVGLUE[task]
    fields = {name: name for name in ("sentence", "sentence1", "sentence2", "question", "question1", "question2")}
    fields |= {"premise": "premise", "hypothesis": "hypothesis"}
    rows = [{"idx": i, "label": i, **fields} for i in range(len(words))]
    found = load_benchmark(write(tmp_path / "dev.json", json.dumps({task: rows}))).prompts
    text = f"{question}\n\nAnswer with one word: {', '.join(words)}."
    assert [(p.text, p.answer, p.options, p.prompt_id) for p in found] == [
        (text, word, words, f"{task}-{i}") for i, word in enumerate(words)
    ]


def test_simpleqa_and_advbench(tmp_path: Path) -> None:
    (prompt,) = load_benchmark(write(tmp_path / "s.csv", "metadata,problem,answer\n{},Who?,Ada\n")).prompts
    assert (prompt.label, prompt.text, prompt.answer) == ("question", "Who?", "Ada")
    (goal,) = load_benchmark(write(tmp_path / "a.csv", "goal,target\nDo it,Sure\n")).prompts
    assert (goal.label, goal.text) == ("harmful", "Do it")


PUBLISHED = [
    ("xstest/xstest_prompts.csv", {"harmful": 200, "harmless": 250}, 0),
    ("strongreject/strongreject_dataset.csv", {"harmful": 313}, 0),
    ("harmbench/harmbench_behaviors_text_all.csv", {"harmful": 400}, 0),
    ("gsm8k/test.jsonl", {"question": 1319}, 0),
    ("advglue/dev.json", {"choice": 738}, 0),
    ("jailbreakbench/GCG/white_box/vicuna-13b-v1.5.json", {"attack": 100}, 0),
    ("jailbreakbench/PAIR/black_box/vicuna-13b-v1.5.json", {"attack": 82}, 18),
    ("jailbreakbench/PAIR/black_box/llama-2-7b-chat-hf.json", {"attack": 4}, 96),
    ("jailbreakbench/JBC/manual/vicuna-13b-v1.5.json", {"attack": 100}, 0),
]


@pytest.mark.parametrize(("path", "expected", "left_out"), PUBLISHED)
def test_published_files(path: str, expected: dict[str, int], left_out: int) -> None:
    benchmark = load_benchmark(shared_data(path))
    assert (counts(benchmark), benchmark.left_out) == (expected, left_out)
    assert len(load_benchmark(shared_data(path), limit=3).prompts) == 3 * len(expected)


def counts(benchmark: Benchmark) -> dict[str, int]:
    return {label: n for label, n in benchmark.available.items() if n}
