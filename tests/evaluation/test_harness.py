"""lm-eval: what it logs, and the real thing on a task and data set of this test where it is installed."""

import importlib.util
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
import yaml

from bdpo.config import EvaluateSettings, ModelSettings
from bdpo.config.evaluate import LmEvalSettings
from bdpo.errors import UserError
from bdpo.evaluation import harness
from bdpo.evaluation.harness import Shared, harness_outcomes, read_samples, shared_outcomes, shown_name
from bdpo.models.source import resolve_model
from bdpo.progress import Silent
from tests.tiny import save_tiny

TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: ["four", "five"]
doc_to_target: "{{{{label}}}}"
metric_list: [{{metric: acc}}]
"""


def log(folder: Path, rows: list[dict[str, object]], *, task: str = "t", **higher_is_better: bool | None) -> None:
    """What lm-eval (0.4.13) writes of a task, and beside it of the whole."""
    (folder / "m").mkdir(exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "m" / f"samples_{task}_2026-01-01T12-00-00.000001.jsonl").write_text(text, encoding="utf-8")
    results = {"results": {}, "higher_is_better": {task: higher_is_better}}
    (folder / "m" / "results_2026-01-01T12-00-00.000001.json").write_text(json.dumps(results), encoding="utf-8")


def test_the_first_metric_that_is_right_or_wrong_under_the_first_filter(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"doc_id": i, "filter": name, "metrics": ["perplexity", "acc"], "perplexity": 2.5, "acc": float(right)}
        for name, rights in (("strict", (1, 0)), ("lenient", (1, 1)))
        for i, right in enumerate(rights)
    ]
    log(tmp_path, rows)
    assert read_samples("t", tmp_path) == {"acc, strict": {"0": True, "1": False}}


def test_a_metric_of_which_less_is_better_is_not_taken(tmp_path: Path) -> None:
    """As of crows_pairs, whose `pct_stereotype` is 1 where the model prefers the stereotype."""
    rows: list[dict[str, object]] = [{"doc_id": 0, "metrics": ["pct_stereotype", "acc"], "pct_stereotype": 1, "acc": 0}]
    log(tmp_path, rows, pct_stereotype=False, acc=True)
    assert read_samples("t", tmp_path) == {"acc": {"0": False}}
    log(tmp_path, rows, pct_stereotype=None)
    assert read_samples("t", tmp_path) == {"pct_stereotype": {"0": True}, "acc": {"0": False}}, "not known"
    log(tmp_path, rows, pct_stereotype=False, acc=False)
    with pytest.raises(UserError, match=r"task 't' has no metric that is right or wrong for each sample \(pct_stereo"):
        read_samples("t", tmp_path)


def test_a_tasks_samples_are_told_from_those_of_a_longer_name(tmp_path: Path) -> None:
    for doc_id, task in enumerate(("t", "t_2", "t_2_2026")):
        log(tmp_path, [{"doc_id": doc_id, "metrics": ["acc"], "acc": 1}], task=task)
    assert read_samples("t", tmp_path) == {"acc": {"0": True}}
    assert read_samples("t_2", tmp_path) == {"acc": {"1": True}}


def test_a_sample_may_hold_line_separators_of_unicode(tmp_path: Path) -> None:
    log(tmp_path, [{"doc_id": 0, "doc": "a\u2028b\x85c", "filter": "none", "metrics": ["acc"], "acc": 1.0}])
    assert read_samples("t", tmp_path) == {"acc": {"0": True}}


def test_a_changed_task_is_run_again_and_an_unchanged_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: Any) -> None:
        runs.append(arguments)
        log(arguments[-1], [{"doc_id": 0, "filter": "none", "metrics": ["acc"], "acc": 1.0}])

    runs: list[tuple[Any, ...]] = []
    monkeypatch.setattr(harness, "_run", run)
    monkeypatch.setattr(harness, "require_package", lambda *_: None)
    monkeypatch.setattr(harness, "version", lambda _: "0.4")
    task, script = tmp_path / "tasks" / "t.yaml", tmp_path / "tasks" / "utils.py"
    task.parent.mkdir()
    task.write_text("task: t\nprocess_results: !function utils.right\n")
    source = resolve_model(str(save_tiny(tmp_path / "model")))
    settings = LmEvalSettings(tasks=["t"], include=[task])
    for text, expected in (("one", 1), ("one", 1), ("two", 2)):
        script.write_text(text)
        harness_outcomes(settings, source, ModelSettings(), batch_size=1, cache=tmp_path, progress=Silent())
        assert len(runs) == expected


def test_both_models_are_held_to_one_metric(tmp_path: Path) -> None:
    """The base model's `rouge1` is 0 for every sample, as a metric that is right or wrong may be."""
    found = []
    for name, scores in (("base", (0.0, 0.0)), ("aligned", (0.0, 0.4))):
        (tmp_path / name).mkdir()
        rows: list[dict[str, object]] = [
            {"doc_id": i, "filter": "none", "metrics": ["rouge1", "acc"], "rouge1": score, "acc": 1.0 - i}
            for i, score in enumerate(scores)
        ]
        log(tmp_path / name, rows)
        found.append(read_samples("t", tmp_path / name))
    assert shared_outcomes("t", *found) == ("acc", [True, False], [True, False])
    with pytest.raises(UserError, match=r"for each sample of both models \(rouge1; acc\)"):
        shared_outcomes("t", {"rouge1": {"0": False}}, {"acc": {"0": True}})


def test_what_cannot_be_compared_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="task 't' logged no samples; name the tasks of a group one by one"):
        read_samples("t", tmp_path)
    log(tmp_path, [{"doc_id": 0, "filter": "none", "metrics": ["f1"], "f1": 0.5}])
    with pytest.raises(UserError, match=r"task 't' has no metric that is right or wrong for each sample \(f1\)"):
        read_samples("t", tmp_path)


def test_a_figure_is_named_by_filter_and_metric_and_a_limited_task_not_called_the_whole() -> None:
    """GSM8K's strict-match and flexible-extract may lie tens of points apart."""
    four = Shared("exact_match, strict-match", [True] * 4, [False] * 4)
    assert shown_name("gsm8k", four, 4) == "gsm8k (lm-eval, exact_match, strict-match, its first 4 samples)"
    assert shown_name("gsm8k", four, 5) == "gsm8k (lm-eval, exact_match, strict-match)", "the task has no more"
    assert shown_name("t", Shared("acc", [True], [True]), None) == "t (lm-eval, acc)"


def test_tasks_may_be_a_plain_list(tmp_path: Path) -> None:
    benchmarks = [{"path": str(tmp_path / "b.csv")}]
    settings = EvaluateSettings.model_validate({"benchmarks": benchmarks, "lm_eval": ["arc_easy", "boolq"]})
    assert settings.lm_eval == LmEvalSettings(tasks=["arc_easy", "boolq"])


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-eval is installed")
def test_without_lm_eval_one_sentence(tmp_path: Path) -> None:
    source = resolve_model(str(save_tiny(tmp_path / "model")))
    with pytest.raises(UserError, match=r"^evaluate\.lm_eval needs the package lm-eval, which is not installed: `pip"):
        harness_outcomes(
            LmEvalSettings(tasks=["t"]), source, ModelSettings(), batch_size=1, cache=tmp_path, progress=Silent()
        )


class Ran(NamedTuple):
    """A command, and the config that it names."""

    command: list[str]
    config: object

    def arguments(self) -> list[str]:
        """Of the model."""
        return self.command[self.command.index("--model_args") + 1].split(",")


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Ran]:
    """What lm-eval, which need not be there, is started with; it says that one answer is right."""
    noted: list[Ran] = []

    def run(command: list[str]) -> tuple[int, str]:
        config = command[command.index("--config") + 1] if "--config" in command else None
        noted.append(Ran(command, None if config is None else yaml.safe_load(Path(config).read_text())))
        log(Path(command[command.index("--output_path") + 1]), [{"doc_id": 0, "metrics": ["acc"], "acc": 1.0}])
        return 0, ""

    monkeypatch.setattr(harness, "run_guarded", run)
    monkeypatch.setattr(harness, "require_package", lambda *_: None)
    monkeypatch.setattr(harness, "version", lambda _: "1")
    return noted


def test_a_model_that_can_think_is_asked_without_and_all_folders_are_included(tmp_path: Path, ran: list[Ran]) -> None:
    """As all else is asked; lm-eval hands this on to the chat template, which ignores what it does not know."""
    source = resolve_model(str(save_tiny(tmp_path / "model")))
    include = [tmp_path / folder / "t.yaml" for folder in ("b\N{SNOWMAN}", "a")]
    for task in include:
        task.parent.mkdir()
        task.write_text("task: t\n")
    settings = LmEvalSettings(tasks=["t"], include=include)
    found = harness_outcomes(settings, source, ModelSettings(), batch_size=1, cache=tmp_path, progress=Silent())
    assert found == {"t": {"acc": {"0": True}}}
    (own,) = ran
    assert own.config == {"include_path": [str(task.parent) for task in reversed(include)]}
    assert "--include_path" not in own.command, "the last of several is taken"
    assert "enable_thinking=False" in own.arguments()


@pytest.mark.parametrize(("num_gpus", "free", "over_all"), [(0, 0, False), (1, 3, False), (2, 3, True), (2, 5, False)])
def test_a_model_that_needs_several_gpus_gets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ran: list[Ran], num_gpus: int, free: int, over_all: bool
) -> None:
    """By itself lm-eval takes `cuda:0`.  `free`: there, in times the size of the files, which may be bfloat16."""
    source = resolve_model(str(save_tiny(tmp_path / "model")))
    size = sum(file.stat().st_size for file in (tmp_path / "model").glob("*.safetensors"))
    monkeypatch.setattr(harness, "count_gpus", lambda: num_gpus)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free * size, 8 * size))
    settings, model = LmEvalSettings(tasks=["t"]), ModelSettings(dtype="float32")
    harness_outcomes(settings, source, model, batch_size=1, cache=tmp_path, progress=Silent())
    (own,) = ran
    assert ("parallelize=True" in own.arguments()) is over_all


@pytest.mark.slow
def test_a_task_of_our_own_on_a_real_model(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install lm-eval")
    data = tmp_path / "sums.jsonl"
    data.write_text("".join(json.dumps({"question": f"{i} + 2?", "label": i % 2}) + "\n" for i in range(5)))
    include = [tmp_path / folder / f"{folder}.yaml" for folder in ("sums", "another")]
    for task in include:
        task.parent.mkdir()
        task.write_text(TASK.format(name=f"{task.stem}_of_this_test", data=data))
    source = resolve_model(str(save_tiny(tmp_path / "model")))
    model = ModelSettings(path=str(tmp_path / "model"), dtype="float32")

    def run(tasks: list[str]) -> object:
        settings = LmEvalSettings(tasks=tasks, include=include, limit=4)
        return harness_outcomes(settings, source, model, batch_size=2, cache=tmp_path / "cache", progress=Silent())

    names = ["sums_of_this_test", "another_of_this_test"]
    found = run(names)
    assert isinstance(found, dict)
    assert [found[name]["acc"].keys() for name in names] == [{"0", "1", "2", "3"}] * 2
    (kept,) = (tmp_path / "cache").rglob("*.json")
    written = kept.stat().st_mtime_ns
    assert run(names) == found
    assert kept.stat().st_mtime_ns == written
    with pytest.raises(UserError, match=r"^lm-eval failed on .*model \(no_such_task\): "):
        run(["no_such_task"])
