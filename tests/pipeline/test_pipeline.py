"""The graph of stages, run for real on a tiny model: what is cached, what is not, and why."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from bdpo.artifacts.catalogue import CATALOGUE
from bdpo.artifacts.manifest import read_manifest
from bdpo.artifacts.store import ArtifactStore
from bdpo.cli import app
from bdpo.config import load_config
from bdpo.errors import UserError
from bdpo.evaluation.report.sources import training_curves
from bdpo.fingerprints import STAGES, Stage
from bdpo.pipeline import Pipeline
from bdpo.progress import Silent
from data_checks import GreatExpectationsChecks
from tests.paths import ROOT
from tests.tiny import tiny_tokenizer
from tests.tiny_run import pair_rows, tiny_run, write_jsonl


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, of 40 pairs, a refused row and a prompt that is also trained on.

    Tests copy it before they change anything.
    """
    folder = tmp_path_factory.mktemp("finished")
    config = tiny_run(folder)
    write_jsonl(folder / "pairs.jsonl", [*pair_rows(40), pair_rows(1)[0] | {"chosen": " "}])
    with (folder / "prompts.jsonl").open("a") as file:
        file.write(json.dumps({"prompt": pair_rows(1)[0]["prompt"], "label": "harmless"}) + "\n")
    results = pipeline(config).run()
    assert [(r.stage, r.cached) for r in results] == [(stage, False) for stage in STAGES]
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A config in a copy of the finished run."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run" / "config.yaml"


def pipeline(config: Path, *overrides: str) -> Pipeline:
    return Pipeline(load_config(config, overrides), checks=GreatExpectationsChecks())


def states(config: Path, *overrides: str) -> dict[Stage, str]:
    return {planned.stage: planned.state for planned in pipeline(config, *overrides).plan()}


def reasons(config: Path, stage: Stage, *overrides: str) -> list[str]:
    return next(planned.reasons for planned in pipeline(config, *overrides).plan() if planned.stage == stage)


def query(config: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(config.parent / "artifacts" / CATALOGUE), read_only=True) as connection:
        return connection.execute(sql).fetchall()


CACHED: dict[Stage, str] = dict.fromkeys(STAGES, "cached")


def test_a_stage_alone_needs_no_file_of_a_later_one(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, num_pairs=20)
    missing = f"evaluate.benchmarks.0.path={tmp_path / 'nowhere.csv'}"
    with pytest.raises(UserError, match=r"^field `evaluate\.benchmarks\.0\.path`: there is no file .*nowhere\.csv\.$"):
        pipeline(config, missing).run()
    assert not (tmp_path / "artifacts").exists(), "a whole run looks at all files before it works"
    assert [result.stage for result in pipeline(config, missing).run(only="ingest")] == ["ingest"]
    assert query(config, "select count(*) from pairs") == [(20,)]


def test_a_stage_alone_downloads_nothing_of_a_later_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record of the run shows the artifacts of all stages; of `evaluate` there is none."""
    monkeypatch.setenv("BDPO_CACHE", str(tmp_path / "cache"))
    config = tiny_run(tmp_path, num_pairs=20)
    pipeline(config, "evaluate.benchmarks=[{published: xstest}]").run(only="ingest")
    assert not (tmp_path / "cache").exists()
    assert query(config, "select status from runs") == [("finished",)]


@pytest.mark.parametrize(
    ("section", "fields", "package"),
    [
        ("train", {"report_to": ["wandb"]}, "wandb"),
        ("train", {"lora": {"rank": 2}}, "peft"),
        ("evaluate", {"lm_eval": ["some_task"]}, "lm-eval"),
        ("evaluate", {"engine": "vllm"}, "vllm"),
    ],
)
def test_a_package_of_a_late_stage_is_missed_before_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, fields: dict[str, Any], package: str
) -> None:
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    sections: dict[str, Any] = {section: fields}
    with pytest.raises(UserError, match=f"{section}.* needs the package {package}, which is not installed"):
        pipeline(tiny_run(tmp_path, **sections)).run()
    assert not (tmp_path / "artifacts" / "ingest").exists()


def test_no_artifact_is_looked_for_where_no_package_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have to be looked for in the remote store."""
    for look in ("is_missing", "elsewhere"):
        monkeypatch.setattr(f"bdpo.pipeline.run.ArtifactLookup.{look}", lambda *args: pytest.fail("looked"))
    pipeline(tiny_run(tmp_path)).require_packages(STAGES)


def test_a_stage_that_is_there_needs_no_package(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    overrides = ["train.report_to=[wandb]"]
    again = Pipeline(load_config(run, overrides), checks=GreatExpectationsChecks())
    assert [stage.cached for stage in again.run()] == [True] * 4
    with pytest.raises(UserError, match="wandb, which is not installed"):
        again.run(force=["train"])


def test_a_second_run_computes_nothing(run: Path) -> None:
    assert states(run) == CACHED
    assert all(result.cached and not result.reasons for result in pipeline(run).run())


def test_a_fresh_plan_says_what_comes_first(tmp_path: Path) -> None:
    config = tiny_run(tmp_path)
    assert states(config) == dict.fromkeys(STAGES, "stale")
    assert reasons(config, "train") == ["never computed", "needs ingest, score first"]


def test_a_plan_refuses_a_model_of_quantised_weights(tmp_path: Path) -> None:
    config = tiny_run(tmp_path)
    described = tmp_path / "model" / "config.json"
    described.write_text(
        json.dumps(json.loads(described.read_text()) | {"quantization_config": {"quant_method": "fp8"}})
    )
    with pytest.raises(
        UserError, match=r"^model\.path '.*': its weights are quantised \(fp8\), and a policy is trained"
    ):
        pipeline(config).plan()


def test_every_row_is_accounted_for_and_queryable(run: Path) -> None:
    assert query(run, "select count(*) from pairs") == [(40,)]
    assert query(run, "select rule from quarantine") == [("blank_chosen",)]
    rows = query(
        run,
        "select count(*), bool_and(isfinite(ref_chosen_logps) and ref_chosen_logps < 0), "
        "max(abs(weight_chosen * scale + weight_rejected * scale - 2)) < 1e-12 from scored_pairs",
    )
    assert rows == [(40, True, True)]
    assert query(run, "select distinct model from eval_summary where model is not null order by 1") == [
        ("aligned",),
        ("base",),
    ]
    assert query(run, "select status, name from runs") == [("finished", "tiny")]


def test_the_policy_is_a_standard_folder_and_has_moved(run: Path) -> None:
    folder = next(p.folder for p in pipeline(run).plan() if p.stage == "train") / "policy"
    policy = AutoModelForCausalLM.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(run.parent / "model")
    assert any(not p.equal(q) for p, q in zip(policy.parameters(), base.parameters(), strict=True))


def test_held_out_accuracy_is_how_often_each_model_finds_the_chosen_response_likelier(run: Path) -> None:
    """Of the validation pairs, one a prompt, by plain forwards of one row."""
    folders = {planned.stage: planned.folder for planned in pipeline(run).plan()}
    pairs = [row for row in pq.read_table(folders["ingest"] / "pairs.parquet").to_pylist() if row["split"] != "train"]
    tokenizer = tiny_tokenizer()

    def logp(model: Any, pair: dict[str, Any], side: str) -> float:
        start = tokenizer(
            f"<|im_start|>user\n{pair['prompt'][0]['content']}<|im_end|>\n<|im_start|>assistant\n"
        ).input_ids
        answer = tokenizer(f"{pair[side]}<|im_end|>").input_ids
        with torch.no_grad():
            logits = model(torch.tensor([start + answer])).logits[0, len(start) - 1 : -1].double()
        return float(logits.log_softmax(-1).gather(-1, torch.tensor(answer)[:, None]).sum())

    expected = []
    for name, folder in (("aligned", folders["train"] / "policy"), ("base", run.parent / "model")):
        model = AutoModelForCausalLM.from_pretrained(folder).eval()
        right = sum(logp(model, pair, "chosen") > logp(model, pair, "rejected") for pair in pairs)
        assert len(pairs) - right != right, "the sides could be exchanged"
        expected.append((name, len(pairs), right))
    assert expected[0][1:] != expected[1][1:], "the models could be exchanged"
    asked = "select model, n, successes from eval_summary where metric = 'preference_accuracy' order by model"
    assert query(run, asked) == expected


def test_every_view_of_the_readme_has_rows_and_the_questions_there_are_answered(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (rows,) = re.findall(r"\n\| view \| one row \|\n.*\n((?:\| .*\n)+)", readme)
    views = [name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert len(views) == 10
    for view in views:
        for name in (view, *([f"all_{view}"] if view != "runs" else [])):
            assert query(run, f"select count(*) > 0 from {name}") == [(True,)], name
    assert query(run, "select same, shared from contamination") == [(True, 1.0)]

    lines = [line for line in readme.splitlines() if line.startswith("bdpo query ")]
    assert len(lines) == 3
    monkeypatch.chdir(run.parent)
    for line in lines:
        result = CliRunner().invoke(app, [*shlex.split(line)[1:], "--format", "json"])
        assert result.exit_code == 0, (line, result.exception)
        assert json.loads(result.stdout), line


def test_the_report_finds_the_curves_of_both_splits(run: Path) -> None:
    folder = next(p.folder for p in pipeline(run).plan() if p.stage == "train")
    assert {metric: set(splits) for metric, splits in training_curves(folder).items()} == {
        metric: {"train", "validation"} for metric in ("loss", "rewards/margins", "rewards/accuracies")
    }


def test_a_setting_recomputes_what_depends_on_it_and_the_plan_names_it(run: Path) -> None:
    assert states(run, "train.beta=0.2") == CACHED | {"train": "stale", "evaluate": "stale"}
    assert reasons(run, "train", "train.beta=0.2") == ["train.beta: 0.1 -> 0.2"]
    assert reasons(run, "evaluate", "train.beta=0.2") == ["its input from train changed", "needs train first"]
    assert states(run, "evaluate.max_new_tokens=4") == CACHED | {"evaluate": "stale"}
    assert states(run, "name=other") == CACHED


def test_the_first_run_of_a_name_is_compared_with_another_run(run: Path) -> None:
    assert reasons(run, "train", "name=other", "train.beta=0.2") == [
        "never computed for other; compared with the run tiny:",
        "train.beta: 0.1 -> 0.2",
    ]


def test_a_method_without_a_reference_needs_no_scores_and_the_plan_says_so(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, train={"method": "simpo"})
    assert states(config) == dict.fromkeys(STAGES, "stale") | {"score": "not needed"}
    assert reasons(config, "score") == ["the method simpo has no reference model: nothing reads score"]
    assert reasons(config, "train") == ["never computed", "needs ingest first"]
    assert pipeline(config).stages == ("ingest", "train", "evaluate")
    assert pipeline(config).missing_inputs("evaluate") == ["ingest", "train"]


@pytest.mark.slow
def test_a_method_without_a_reference_runs_to_its_report_without_scores(run: Path, tmp_path: Path) -> None:
    """The held-out figure of the base model is the one that a run with scores has."""
    (tmp_path / "other").mkdir()
    config = tiny_run(tmp_path / "other", train={"method": "simpo"})
    results = {result.stage: result for result in pipeline(config).run()}
    assert tuple(results) == ("ingest", "train", "evaluate")
    assert not (config.parent / "artifacts" / "score").exists()
    page = (results["evaluate"].artifact / "report.html").read_text()
    assert "The method has no reference model: nothing was scored" in page
    held_out = "select n, value, successes from eval_summary where metric = 'preference_accuracy' and model = 'base'"
    assert query(config, held_out) == query(run, held_out)


def test_new_rows_score_only_themselves(run: Path) -> None:
    write_jsonl(run.parent / "pairs.jsonl", pair_rows(44))
    assert reasons(run, "ingest") == ["ingest.sources.0.path: the content changed"]
    work = pipeline(run)
    work.run_stage("ingest")
    summary = work.run_stage("score").summary
    assert (summary["sequences"], summary["sequences_reused"], summary["sequences_scored"]) == (176, 160, 16)


def test_a_damaged_artifact_is_computed_again_and_later_stages_stay(run: Path) -> None:
    folder = next(p.folder for p in pipeline(run).plan() if p.stage == "ingest")
    (folder / "pairs.parquet").write_bytes(b"PAR1")
    assert states(run) == CACHED | {"ingest": "stale"}
    assert reasons(run, "ingest")[0].startswith("pairs.parquet has 4 bytes where the manifest says")
    assert [result.stage for result in pipeline(run).run() if not result.cached] == ["ingest"]


def test_force_computes_a_cached_stage(run: Path) -> None:
    result = pipeline(run).run_stage("ingest", force=True)
    assert (result.cached, result.reasons) == (False, ["forced"])


def test_a_file_that_changed_since_it_was_named_is_not_computed_from(run: Path) -> None:
    """Else its result would be found cached under the name of the old content."""
    prompts = run.parent / "prompts.jsonl"
    work = pipeline(run, "evaluate.max_new_tokens=4")
    work.require_files()
    prompts.write_text("".join(prompts.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(UserError, match=r"evaluate\.benchmarks\.0\.path: the content changed after this run"):
        work.run_stage("evaluate")
    assert not work.plan()[-1].folder.exists()


def test_a_file_that_changes_while_a_stage_reads_it_leaves_nothing_under_the_old_name(run: Path) -> None:
    pairs = run.parent / "pairs.jsonl"
    rows = pairs.read_bytes()

    class Editing(Silent):
        def begin(self, task: str, total: int, unit: str, done: int = 0) -> None:
            pairs.write_bytes(rows[: rows.index(b"\n", 3000) + 1])

    with pytest.raises(UserError, match=r"Stage ingest is given up: ingest\.sources\.0\.path: the content changed"):
        pipeline(run, "ingest.seed=7").run_stage("ingest", progress=Editing())
    pairs.write_bytes(rows)
    assert states(run, "ingest.seed=7")["ingest"] == "stale", "no partial work either"
    assert pipeline(run, "ingest.seed=7").run_stage("ingest").summary["rows"] == 41


def test_waiting_for_another_process_is_said_and_counts_for_no_stage(run: Path) -> None:
    work = pipeline(run)
    said: list[str] = []
    other = ExitStack()
    other.enter_context(ArtifactStore(run.parent / "artifacts").lock("ingest", work.fingerprints["ingest"], print))

    class Ending(Silent):
        def say(self, message: str) -> None:
            said.append(message)
            time.sleep(0.3)
            other.close()

    started = time.monotonic()
    result = work.run_stage("ingest", progress=Ending())
    assert said == ["ingest: another process is working on this artifact; waiting for it to end"]
    assert result.seconds <= time.monotonic() - started - 0.3


def test_a_stage_whose_input_is_missing_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Stage train needs the artifact of ingest"):
        pipeline(tiny_run(tmp_path)).run(only="train")
    assert not list((tmp_path / "artifacts" / "train").glob("*/*"))


def test_a_failed_run_is_recorded_with_its_sentence(run: Path) -> None:
    (run.parent / "pairs.jsonl").write_text('{"question": "x"}\n')
    with pytest.raises(UserError) as raised:
        pipeline(run).run()
    assert query(run, "select status, error from runs limit 1") == [("failed", str(raised.value))]


def test_manifests_hold_what_was_read_and_made(run: Path) -> None:
    for planned in pipeline(run).plan():
        manifest = read_manifest(planned.folder)
        assert manifest is not None
        assert manifest.stage == planned.stage
        assert manifest.reads["model.max_length"] == 256
        assert {"python", "torch", "duckdb"} <= manifest.versions.keys()
        on_disk = {str(p.relative_to(planned.folder)) for p in planned.folder.rglob("*") if p.is_file()}
        assert manifest.files.keys() == on_disk - {"manifest.json"}


_RUN_INGEST = """
import sys
from bdpo.config import load_config
from bdpo.pipeline import Pipeline
from data_checks import GreatExpectationsChecks
print("cached" if Pipeline(load_config(sys.argv[1]), checks=GreatExpectationsChecks()).run_stage("ingest").cached
      else "computed")
"""


def test_two_processes_that_start_a_stage_at_once_do_it_once(tmp_path: Path) -> None:
    config = tiny_run(tmp_path, num_pairs=400)
    command = [sys.executable, "-c", _RUN_INGEST, str(config)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(process.communicate(timeout=120)[0].split()[-1] for process in both) == ["cached", "computed"]
