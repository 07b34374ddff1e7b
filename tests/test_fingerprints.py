"""Fingerprints: every field that a stage reads moves it and those after it, and no other field does."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from bdpo import fingerprints, versions
from bdpo.config import Config
from bdpo.config.methods import methods_with
from bdpo.errors import UserError
from bdpo.fingerprints import EXECUTION, STAGES, Stage, compare_reads, fingerprint, inputs_for, stage_reads
from bdpo.models.source import ModelSource
from tests.tiny import save_tiny

SOURCE = ModelSource(name="m", folder=Path("/m"), weights_digest="w" * 64, tokenizer_digest="t" * 64)
AFTER: dict[str, tuple[Stage, ...]] = {
    "ingest": ("ingest", "score", "train", "evaluate"),
    "score": ("score", "train", "evaluate"),
    "train": ("train", "evaluate"),
    "evaluate": ("evaluate",),
}
MODEL_FIELDS: dict[str, tuple[Stage, ...]] = {
    "path": (),  # read as the digests of the model's files
    "revision": (),
    "dtype": AFTER["score"],
    "quantization": AFTER["score"],
    "attention": AFTER["score"],
    "compile": AFTER["score"],
    "max_length": AFTER["ingest"],
    "max_prompt_length": AFTER["ingest"],
    "trust_remote_code": AFTER["ingest"],
}


@pytest.fixture
def base(tmp_path: Path) -> dict[str, Any]:
    for name in ("rows", "other", "deepspeed"):
        (tmp_path / name).write_text(name)
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "pairs.parquet").write_text("earlier pairs")
    return {
        "name": "x",
        "artifacts": str(tmp_path / "artifacts"),
        "ingest": {"sources": [{"path": str(tmp_path / "rows")}]},
        "evaluate": {"benchmarks": [{"path": str(tmp_path / "rows")}]},
    }


def names(data: dict[str, Any], source: ModelSource = SOURCE) -> dict[Stage, str]:
    config = Config.model_validate(data)
    found: dict[Stage, str] = {}
    for stage, inputs in inputs_for(config.train.method).items():
        found[stage] = fingerprint(stage, stage_reads(stage, config, source), [found[above] for above in inputs])
    return found


def moved(base: dict[str, Any], changed: dict[str, Any]) -> tuple[Stage, ...]:
    before, after = names(base), names(changed)
    return tuple(stage for stage in STAGES if before[stage] != after[stage])


def changed_values(model: type[BaseModel], folder: Path) -> dict[str, Any]:
    """A valid value other than the default, for every field of a section."""
    special: dict[str, Any] = {
        "path": str(folder / "other"),
        "deepspeed": str(folder / "deepspeed"),
        "hostfile": str(folder / "other"),
        "launcher_args": ["--force_multi"],
        "report_to": ["mlflow"],
        "lora": {"rank": 4},
        "early_stopping": {"patience": 2},
        "revision": "main",
        "split": "test",
        "subset": "x",
        "data_dir": "x",
        "sample": {"safe": 1, "unsafe": 1},
        "columns": {"prompt": "question"},
        "hub": None,  # in place of a path: test_a_hub_dataset_is_its_commit
        "published": None,  # in place of a path: test_a_published_benchmark_is_its_content
        "name": "other",
        "sources": None,
        "benchmarks": None,
        "drift": {"previous": str(folder / "earlier")},
        "evaluation_prompts": [{"path": str(folder / "other")}],
        "near_duplicates": 0.9,
        "beta": 0.2,
        "judge": {"url": "http://localhost/v1", "model": "m"},
        "lm_eval": ["arc_easy"],
    }
    values: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        options = [o for o in (info.annotation, *get_args(info.annotation)) if o is not type(None)]
        choices = [c for option in options for c in get_args(option) if isinstance(c, str)]
        choices += [o for o in options if isinstance(o, str)]
        if name in special:
            values[name] = special[name]
        elif choices:
            values[name] = next((c for c in choices if c != info.default), None)
        elif bool in options:
            values[name] = not info.default
        elif isinstance(info.default, float):
            values[name] = info.default / 2 if info.default else 0.25
        else:
            values[name] = (info.default or 6) + 1
    return {name: value for name, value in values.items() if value is not None}


@pytest.mark.parametrize("stage", STAGES)
def test_every_field_of_a_section_moves_its_stage_and_those_after(
    stage: Stage, base: dict[str, Any], tmp_path: Path
) -> None:
    section = Config.model_fields[stage].annotation
    assert isinstance(section, type)
    for name, value in changed_values(section, tmp_path).items():
        before = json.loads(json.dumps(base))
        if f"{stage}.{name}" in EXECUTION:
            continue
        if stage == "train" and "bdpo" not in methods_with(name):
            before["train"] = {"method": methods_with(name)[0]}
        if name == "tau":
            before["train"] = {"balance": "softmax"}
        changed = json.loads(json.dumps(before))
        changed.setdefault(stage, {})[name] = value
        assert moved(before, changed) == AFTER[stage], f"{stage}.{name} = {value!r}"


def test_how_a_stage_is_run_moves_nothing(base: dict[str, Any], tmp_path: Path) -> None:
    for stage, name in (field.split(".") for field in EXECUTION if field.count(".") == 1):
        section = Config.model_fields[stage].annotation
        assert isinstance(section, type)
        assert moved(base, base | {stage: {name: changed_values(section, tmp_path)[name]}}) == (), name
    base["evaluate"]["judge"] = {"url": "http://localhost/v1", "model": "m"}
    slower = base["evaluate"] | {"judge": base["evaluate"]["judge"] | {"requests_per_minute": 3.0}}
    assert moved(base, base | {"evaluate": slower}) == (), "evaluate.judge.requests_per_minute"
    reads = stage_reads("train", Config.model_validate(base | {"train": {"report_to": ["wandb"]}}), SOURCE)
    assert not any(name.startswith("train.report_to") for name in reads)


def test_without_a_reference_model_no_stage_depends_on_the_scores(base: dict[str, Any]) -> None:
    simpo = base | {"train": {"method": "simpo"}}
    assert moved(simpo, simpo | {"score": {"token_budget": 7}}) == ("score",)
    assert inputs_for("simpo") == {
        "ingest": (),
        "score": ("ingest",),
        "train": ("ingest",),
        "evaluate": ("ingest", "train"),
    }


@pytest.mark.parametrize(("stage", "field"), [("ingest", "sources"), ("evaluate", "benchmarks")])
def test_every_field_of_a_list_item_moves_its_stage(
    stage: Stage, field: str, base: dict[str, Any], tmp_path: Path
) -> None:
    section = Config.model_fields[stage].annotation
    assert isinstance(section, type)
    assert issubclass(section, BaseModel)
    item = get_args(section.model_fields[field].annotation)[0]
    for name, value in changed_values(item, tmp_path).items():
        if name in ("revision", "subset", "data_dir", "split"):
            continue  # of a hub dataset: test_a_hub_dataset_is_its_commit
        changed = json.loads(json.dumps(base))
        changed[stage][field][0][name] = value
        assert moved(base, changed) == AFTER[stage], f"{stage}.{field}.0.{name} = {value!r}"


def test_a_model_field_moves_the_stages_that_read_it(base: dict[str, Any], tmp_path: Path) -> None:
    section = Config.model_fields["model"].annotation
    assert isinstance(section, type)
    values = changed_values(section, tmp_path)
    assert values.keys() == MODEL_FIELDS.keys()
    base = base | {"train": {"lora": {}}}  # which a quantised model asks for
    for name, value in values.items():
        assert moved(base, base | {"model": {name: value}}) == MODEL_FIELDS[name], name


def test_the_model_is_what_its_files_hold(base: dict[str, Any]) -> None:
    def with_source(**parts: str) -> tuple[Stage, ...]:
        fields = {"name": "m", "weights_digest": "w" * 64, "tokenizer_digest": "t" * 64} | parts
        other = ModelSource(folder=Path("/elsewhere"), **fields)
        return tuple(stage for stage in STAGES if names(base)[stage] != names(base, other)[stage])

    assert with_source(name="another name") == ()
    assert with_source(weights_digest="v" * 64) == AFTER["score"]
    assert with_source(tokenizer_digest="v" * 64) == AFTER["ingest"]


def test_of_a_models_generation_config_the_end_tokens_alone_count_and_for_evaluation(
    base: dict[str, Any], tmp_path: Path
) -> None:
    source = ModelSource("m", tmp_path, "w" * 64, "t" * 64)

    def with_settings(**settings: Any) -> dict[Stage, str]:
        (tmp_path / "generation_config.json").write_text(json.dumps(settings))
        return names(base, source)

    before = with_settings(eos_token_id=2)
    assert with_settings(eos_token_id=[2], repetition_penalty=1.5) == before
    after = with_settings(eos_token_id=[2, 3])
    assert tuple(stage for stage in STAGES if before[stage] != after[stage]) == ("evaluate",)
    reads = stage_reads("evaluate", Config.model_validate(base), source)
    assert compare_reads(json.loads(json.dumps(reads)), reads) == [], "as a manifest keeps them"


def test_the_name_and_the_place_of_a_run_move_nothing(base: dict[str, Any], tmp_path: Path) -> None:
    assert moved(base, base | {"name": "y", "artifacts": str(tmp_path / "elsewhere")}) == ()


def test_an_earlier_artifact_is_its_pairs_alone(base: dict[str, Any], tmp_path: Path) -> None:
    base["ingest"]["drift"] = {"previous": str(tmp_path / "earlier")}
    before = names(base)
    (tmp_path / "earlier" / "quarantine.parquet").write_text("x")
    (tmp_path / "earlier").rename(tmp_path / "moved")
    base["ingest"]["drift"] = {"previous": str(tmp_path / "moved")}
    assert names(base) == before
    (tmp_path / "moved" / "pairs.parquet").write_text("other pairs")
    assert names(base) != before


def test_a_file_is_its_content_not_its_place(base: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("rows")
    assert moved(base, base | {"ingest": {"sources": [{"path": str(tmp_path / "copy")}]}}) == ()
    before = names(base)
    (tmp_path / "rows").write_text("rowz")
    assert names(base)["ingest"] != before["ingest"]


def test_a_published_benchmark_is_its_content(
    base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    monkeypatch.setattr(fingerprints, "locate", lambda benchmark: benchmark.path or copy)
    own = {"format": "xstest", "name": "own"}
    by_path, by_name = (
        base | {"evaluate": {"benchmarks": [own | benchmark]}}
        for benchmark in ({"path": str(tmp_path / "rows")}, {"published": "xstest"})
    )
    copy.write_bytes((tmp_path / "rows").read_bytes())
    assert moved(by_path, by_name) == ()
    copy.write_text("another version")
    assert moved(by_path, by_name) == ("evaluate",)


def test_a_hub_dataset_is_its_commit(base: dict[str, Any]) -> None:
    hub = {"hub": "owner/name", "revision": "0" * 40}

    def with_source(**changes: str) -> dict[str, Any]:
        return base | {"ingest": {"sources": [hub | changes]}}

    reads = stage_reads("ingest", Config.model_validate(with_source()), SOURCE)
    assert reads["ingest.sources.0.revision"] == "0" * 40
    for changes in (
        {"hub": "owner/other"},
        {"revision": "1" * 40},
        {"split": "test"},
        {"subset": "x"},
        {"data_dir": "x"},
    ):
        assert moved(with_source(), with_source(**changes)) == AFTER["ingest"], changes


def test_a_folder_or_glob_is_the_names_and_contents_of_its_files(base: dict[str, Any], tmp_path: Path) -> None:
    def fill(folder: str, **files: str) -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        for name, content in files.items():
            (tmp_path / folder / f"{name}.jsonl").write_text(content)
        return tmp_path / folder

    def of(path: Path) -> str:
        return names(base | {"ingest": {"sources": [{"path": str(path)}]}})["ingest"]

    here = of(fill("here", a="1", b="2"))
    assert of(fill("copy", a="1", b="2")) == here  # the place is free
    assert of(tmp_path / "here" / "*.jsonl") == here  # and so is how the files are named
    assert of(tmp_path / "here" / "a*.jsonl") != here
    assert of(fill("changed", a="1", b="3")) != here
    assert of(fill("renamed", a="1", c="2")) != here
    assert of(fill("swapped", a="2", b="1")) != here
    assert of(fill("here", c="3")) != here
    (tmp_path / "here" / "c.jsonl").unlink()
    (tmp_path / "here" / ".hidden").write_text("x")
    assert of(tmp_path / "here") == here


@pytest.mark.parametrize(
    ("path", "message"), [("gone.jsonl", "there is no such data file"), ("*.x", "no file matches this pattern")]
)
def test_a_missing_source_names_its_field(base: dict[str, Any], tmp_path: Path, path: str, message: str) -> None:
    with pytest.raises(UserError, match=r"field `ingest\.sources\.0\.path`: .*" + message):
        names(base | {"ingest": {"sources": [{"path": str(tmp_path / path)}]}})


@pytest.mark.parametrize("stage", STAGES)
def test_a_code_version_moves_its_stage(stage: Stage, base: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before = names(base)
    monkeypatch.setitem(versions.STAGES, stage, "next")
    after = names(base)
    assert tuple(s for s in STAGES if before[s] != after[s]) == AFTER[stage]


def test_the_log_prob_path_moves_scoring(base: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    before = names(base)
    monkeypatch.setattr(versions, "LOGPROBS", "next")
    after = names(base)
    assert tuple(s for s in STAGES if before[s] != after[s]) == AFTER["score"]


def test_a_missing_file_names_its_field(base: dict[str, Any], tmp_path: Path) -> None:
    missing = base | {"evaluate": {"benchmarks": [{"path": str(tmp_path / "gone.csv")}]}}
    with pytest.raises(UserError, match=r"field `evaluate\.benchmarks\.0\.path`: there is no file .*gone\.csv"):
        names(missing)
    folder = base | {"evaluate": {"benchmarks": [{"path": str(tmp_path)}]}}
    with pytest.raises(UserError, match=r"field `evaluate\.benchmarks\.0\.path`: .* is a folder where a file is exp"):
        names(folder)


def test_differences_are_named_field_by_field() -> None:
    digest = "sha256:" + "0" * 64
    old = {"train.beta": 0.1, "train.tau": 1.0, "x": 1, "ingest.sources.0.path": digest}
    new = {"train.beta": 0.2, "train.tau": 1.0, "y": 2, "ingest.sources.0.path": digest[:-1] + "1", "z": digest}
    assert compare_reads(old, new) == [
        "ingest.sources.0.path: the content changed",
        "train.beta: 0.1 -> 0.2",
        "x is gone (was 1)",
        "y is new (2)",
        "z is new (a file)",
    ]


def test_a_classifier_is_what_its_files_hold(base: dict[str, Any], tmp_path: Path) -> None:
    judge = {"kind": "wildguard", "path": str(save_tiny(tmp_path / "guard"))}
    evaluate = base["evaluate"] | {"judge": judge}
    same = {"kind": "wildguard", "path": str(save_tiny(tmp_path / "copy"))}
    assert moved(base | {"evaluate": evaluate}, base | {"evaluate": evaluate | {"judge": same}}) == ()
    other = judge | {"path": str(save_tiny(tmp_path / "another", seed=1))}
    for changed in (other, judge | {"kind": "harmbench"}, judge | {"dtype": "float32"}):
        assert moved(base | {"evaluate": evaluate}, base | {"evaluate": evaluate | {"judge": changed}}) == ("evaluate",)
