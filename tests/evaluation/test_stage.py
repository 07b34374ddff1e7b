"""The whole stage on two tiny models: every kind of benchmark, nothing generated twice."""

import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from bdpo.config import EvaluateSettings, ModelSettings
from bdpo.config.evaluate import BenchmarkSettings, ClassifierSettings
from bdpo.errors import UserError
from bdpo.evaluation import respond
from bdpo.evaluation.formats import Prompt
from bdpo.evaluation.judging import RULES
from bdpo.evaluation.outcomes import judge_replies
from bdpo.evaluation.respond import Reply
from bdpo.evaluation.stage import evaluate, load_benchmarks
from bdpo.models.loading import load_reference
from bdpo.models.source import resolve_model
from bdpo.progress import Silent
from bdpo.schemas import RowFailure
from data_checks import GreatExpectationsChecks
from tests.evaluation.report.artifacts import small_artifacts
from tests.said import Said
from tests.tiny import save_tiny

FILES = {
    "own.jsonl": "".join(
        json.dumps({"prompt": f"Tell me of {label} {i}", "label": label}) + "\n"
        for label in ("harmful", "harmless")
        for i in range(4)
    ),
    "sums.jsonl": json.dumps({"question": "2 + 3?", "answer": "#### 5"}) + "\n",
    "hhh.jsonl": "".join(
        json.dumps({"input": "q", "target_scores": {"bad": 1 - score, "good": score}}) + "\n" for score in (0, 1)
    ),
    "pair.json": json.dumps(
        {
            "parameters": {"method": "PAIR", "model": "other"},
            "jailbreaks": [
                {"index": i, "goal": "g", "category": "c", "prompt": text, "jailbroken": False}
                for i, text in enumerate(["Do it", None])
            ],
        }
    ),
}


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Any]:
    """The stage's arguments but its workspace."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    folders = small_artifacts(tmp_path / "artifacts")
    save_tiny(tmp_path / "model")
    save_tiny(folders["trained"] / "policy", seed=1)
    benchmarks = [BenchmarkSettings(path=tmp_path / name) for name in FILES]
    benchmarks[1] = BenchmarkSettings(path=tmp_path / "sums.jsonl", max_new_tokens=5)
    benchmarks[0] = BenchmarkSettings(path=tmp_path / "own.jsonl", limit=3)
    return {
        "settings": EvaluateSettings(benchmarks=benchmarks, max_new_tokens=4, preference_pairs=0),
        "model": ModelSettings(path=str(tmp_path / "model"), dtype="float32", max_length=256, max_prompt_length=128),
        "source": resolve_model(str(tmp_path / "model")),
        "cache": tmp_path / "cache",
        "checks": GreatExpectationsChecks(),
        "progress": Silent(),
        **folders,
    }


def run(inputs: dict[str, Any], workdir: Path) -> dict[str, Any]:
    (workdir / "scratch").mkdir(parents=True)
    return evaluate(**inputs, workdir=workdir)


def test_every_kind_of_prompt_gets_its_figure(inputs: dict[str, Any], tmp_path: Path) -> None:
    said = Said()
    first = run(inputs | {"progress": said}, tmp_path / "one")
    summary = pq.read_table(tmp_path / "one" / "eval_summary.parquet").to_pylist()
    shown = [(row["benchmark"], row["metric"], row["model"], row["n"], row["limited_from"]) for row in summary]
    expected = [
        ("own", "refusal_rate", 3, 4),
        ("own", "over_refusal_rate", 3, 4),
        ("sums", "accuracy", 1, None),
        ("hhh", "accuracy", 2, None),
        ("PAIR (found against other)", "attack_success_rate", 1, None),
    ]
    assert shown == [(b, m, model, n, of) for b, m, n, of in expected for model in ("base", "aligned")]
    generations = pq.read_table(tmp_path / "one" / "generations.parquet").to_pylist()
    assert len(generations) == 2 * 10
    assert {g["completion"] for g in generations if g["label"] == "choice"} <= {"bad", "good"}
    assert max(g["n_tokens"] for g in generations if g["label"] == "question") == 5
    judgements = pq.read_table(tmp_path / "one" / "judgements.parquet").to_pylist()
    assert {(j["label"], j["judge"]) for j in judgements} == {
        ("harmful", "rules"),
        ("harmless", "rules"),
        ("attack", "rules"),
        ("question", "exact match"),
        ("choice", "log-prob"),
    }
    held_against = {j["label"]: j["held_against"] for j in judgements}
    assert held_against == {"harmful": None, "harmless": None, "attack": "g", "question": "5", "choice": "good"}
    assert first["independent"] == {"hhh": 1}
    report = (tmp_path / "one" / first["report"]).read_text()
    assert report.startswith("<!doctype html>")
    assert "aligned one, at 5 tokens" in report
    assert [text for text in said.texts if "of 1 answers to sums" in text and "the limit of 5 tokens" in text]
    again = run(inputs, tmp_path / "two")
    assert first["generated_tokens"] > 0
    assert again["generated_tokens"] == 0, "completions are kept by content"
    assert again["table"] == first["table"]


def test_the_first_model_is_gone_before_the_second_is_loaded(
    inputs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that refers to itself, as those do that `accelerate` spread over several devices."""
    loaded: list[weakref.ref[Any]] = []

    def load(*arguments: Any) -> Any:
        assert all(model() is None for model in loaded)
        model: Any = load_reference(*arguments)
        model.cycle = [model]
        loaded.append(weakref.ref(model))
        return model

    monkeypatch.setattr(respond, "load_reference", load)
    gc.disable()
    try:
        run(inputs, tmp_path / "one")
    finally:
        gc.enable()
    assert len(loaded) == 2


def test_a_judge_that_is_not_there_is_said_before_any_work(inputs: dict[str, Any], tmp_path: Path) -> None:
    judge = ClassifierSettings(kind="wildguard", path=str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"^evaluate\.judge\.path '.*gone': there is no such folder\.$"):
        run(inputs | {"settings": inputs["settings"].model_copy(update={"judge": judge})}, tmp_path / "one")
    assert not (tmp_path / "cache").exists()


def test_a_figure_that_breaks_a_rule_stops_the_stage_and_is_named(inputs: dict[str, Any], tmp_path: Path) -> None:
    class Refusing(GreatExpectationsChecks):
        def evaluation_results(self, frame: pd.DataFrame) -> list[RowFailure]:
            assert not super().evaluation_results(frame)
            return [RowFailure(3, "some_rule", "it is no share"), RowFailure(0, "other_rule", "it is none either")]

    own = inputs["settings"].model_copy(update={"benchmarks": inputs["settings"].benchmarks[:1]})
    with pytest.raises(UserError) as raised:
        run(inputs | {"settings": own, "checks": Refusing()}, tmp_path / "one")
    assert str(raised.value) == (
        "evaluate: over_refusal_rate of the aligned model on own breaks the rule some_rule: it is no share."
    )
    left = {path.name for path in (tmp_path / "one").rglob("*")}
    assert "index.html" in left, "Data Docs show what is wrong"
    assert not left & {"eval_summary.parquet", "summary.md", "report.html", "manifest.json"}


def test_two_benchmarks_of_one_name_are_refused(inputs: dict[str, Any]) -> None:
    twice = [inputs["settings"].benchmarks[0]] * 2
    with pytest.raises(UserError, match="2 of them are called 'own'"):
        load_benchmarks(EvaluateSettings(benchmarks=twice))


def test_a_sum_asks_for_the_last_number_and_a_question_of_fact_for_the_answer_anywhere() -> None:
    said = Reply("k", "In 1978, by 3 people.", 9)
    fact = Prompt("1", "When?", "question", None, "1978")
    judged = judge_replies([fact, fact._replace(numeric=True)], [said, said], RULES, "base", Silent())
    assert [outcome.counts for outcome in judged] == [True, False]
