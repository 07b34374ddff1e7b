"""What each stage reads, and the fingerprint that follows from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from bdpo import versions
from bdpo.artifacts.digest import digest_file, digest_value
from bdpo.config import Config, DriftSettings, SourceSettings
from bdpo.config.evaluate import BenchmarkSettings, ClassifierSettings, LmEvalSettings
from bdpo.config.methods import METHODS, Method
from bdpo.data.files import data_files
from bdpo.data.hub import resolve_commit
from bdpo.errors import UserError
from bdpo.evaluation.ends import configured_ends
from bdpo.evaluation.published import locate
from bdpo.evaluation.task_files import digest_tasks
from bdpo.models.source import ModelSource, resolve_model

Stage = Literal["ingest", "score", "train", "evaluate"]
STAGES: tuple[Stage, ...] = ("ingest", "score", "train", "evaluate")

INPUTS: Mapping[Stage, tuple[Stage, ...]] = {
    "ingest": (),
    "score": ("ingest",),
    "train": ("ingest", "score"),
    "evaluate": ("ingest", "score", "train"),
}
"""The stages whose artifacts a stage is given, with a method that has a reference model."""

EXECUTION = frozenset(
    {
        "score.processes",
        "score.shard_sequences",
        "train.processes",
        "train.hostfile",
        "train.launcher_args",
        "train.report_to",
        "train.checkpoint_every",
        "train.keep_checkpoints",
        "evaluate.judge.requests_per_minute",
    }
)
"""Settings of how a stage is run.  Its artifact is the same but for rounding, so they recompute nothing, and a
killed training may go on with others (another number of processes apart, which its checkpoints refuse)."""
_LENGTH = 24


def inputs_for(method: Method) -> Mapping[Stage, tuple[Stage, ...]]:
    """The stages whose artifacts a stage is given; without a reference model nothing reads the scores."""
    if METHODS[method].needs_reference:
        return INPUTS
    return {stage: tuple(above for above in inputs if above != "score") for stage, inputs in INPUTS.items()}


def stage_reads(stage: Stage, config: Config, source: ModelSource) -> dict[str, Any]:
    """Every setting and outside file that a stage reads.

    Args:
        stage: the stage.
        config: the run's settings.
        source: the model that `config.model` names.

    Returns:
        Dotted name to value; a file stands as the digest of its content, so that its place is free, a folder
        or glob as that of its files' names and contents, a branch of a hub dataset as its commit.

    Raises:
        UserError: a file or dataset that the settings name is missing.
    """
    reads: dict[str, Any] = {"code": versions.STAGES[stage]}
    if stage != "ingest":
        reads["code.logprobs"] = versions.LOGPROBS
    _flatten(stage, getattr(config, stage), reads)
    reads = {name: value for name, value in reads.items() if not _is_execution(name)}
    model = config.model
    reads |= {
        "model tokenizer": source.tokenizer_digest,
        "model.max_length": model.max_length,
        "model.max_prompt_length": model.max_prompt_length,
        "model.trust_remote_code": model.trust_remote_code,
    }
    if stage != "ingest":
        reads |= {
            "model weights": source.weights_digest,
            "model.dtype": model.dtype,
            "model.quantization": model.quantization,
            "model.attention": model.attention,
        }
    if stage == "score":
        reads["model.compile"] = model.compile
    if stage == "evaluate":
        reads["code.generation"] = versions.GENERATION
        reads["model end tokens"] = configured_ends(source.folder)
    return reads


def fingerprint(stage: Stage, reads: Mapping[str, Any], inputs: Sequence[str]) -> str:
    """The name of a stage's artifact: digest of what it reads and of its inputs' names.

    Args:
        stage: the stage.
        reads: as of `stage_reads`.
        inputs: the names of the artifacts that it is given, in the order of `inputs_for`.
    """
    return digest_value({"stage": stage, "reads": reads, "inputs": inputs})[:_LENGTH]


def _is_execution(name: str) -> bool:
    return any(name == field or name.startswith(f"{field}.") for field in EXECUTION)


def compare_reads(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The differences between two results of `stage_reads`, one phrase each, for people."""
    differences = []
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            differences.append(f"{name} is gone (was {old[name]!r})")
        elif name not in old:
            differences.append(f"{name} is new ({_shown(new[name])})")
        elif old[name] != new[name]:
            if _is_digest(new[name]):
                differences.append(f"{name}: the content changed")
            else:
                differences.append(f"{name}: {old[name]!r} -> {new[name]!r}")
    return differences


def _flatten(name: str, value: Any, into: dict[str, Any]) -> None:
    if isinstance(value, SourceSettings):
        for field in SourceSettings.model_fields.keys() - {"path", "revision"}:
            _flatten(f"{name}.{field}", getattr(value, field), into)
        if value.path is not None:
            into[f"{name}.path"] = _digest_files(f"{name}.path", value.path)
        if value.hub is not None:
            into[f"{name}.revision"] = resolve_commit(value.hub, value.revision)
    elif isinstance(value, BenchmarkSettings):
        for field in BenchmarkSettings.model_fields.keys() - {"path", "published"}:
            _flatten(f"{name}.{field}", getattr(value, field), into)
        into[f"{name}.path"] = _digest(f"{name}.path", locate(value))
    elif isinstance(value, ClassifierSettings):
        judge = resolve_model(value.path, value.revision, field=f"{name}.path")
        into |= {f"{name} weights": judge.weights_digest, f"{name} tokenizer": judge.tokenizer_digest}
        into[f"{name} end tokens"] = configured_ends(judge.folder)
        into |= {f"{name}.kind": value.kind, f"{name}.dtype": value.dtype, f"{name}.batch_size": value.batch_size}
    elif isinstance(value, LmEvalSettings):
        for field in LmEvalSettings.model_fields.keys() - {"include"}:
            _flatten(f"{name}.{field}", getattr(value, field), into)
        into |= {f"{name}.include.{i}": digest for i, digest in enumerate(digest_tasks(value.include))}
    elif isinstance(value, DriftSettings):
        for field in DriftSettings.model_fields.keys() - {"previous"}:
            _flatten(f"{name}.{field}", getattr(value, field), into)
        into[f"{name}.previous"] = _digest(f"{name}.previous", value.previous / "pairs.parquet")
    elif hasattr(type(value), "model_fields"):
        for field in type(value).model_fields:
            _flatten(f"{name}.{field}", getattr(value, field), into)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _flatten(f"{name}.{i}", item, into)
    elif isinstance(value, Path):
        into[name] = _digest(name, value)
    else:
        into[name] = value


def _digest_files(name: str, path: Path) -> str:
    """Digest of a data file's content, or of the names and contents of those that a folder or glob stands for."""
    if path.is_file():
        return _digest(name, path)
    try:
        files = data_files(path)
    except UserError as error:
        raise UserError(f"field `{name}`: {error}") from None
    return f"sha256:{digest_value([[file.name, _digest(name, file.path)] for file in files])}"


def _digest(name: str, path: Path) -> str:
    try:
        return f"sha256:{digest_file(path)}"
    except FileNotFoundError:
        raise UserError(f"field `{name}`: there is no file {path}.") from None
    except IsADirectoryError:
        raise UserError(f"field `{name}`: {path} is a folder where a file is expected.") from None
    except OSError as error:
        raise UserError(f"field `{name}`: the file {path} cannot be read: {error.strerror}.") from error


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and (value.startswith("sha256:") or len(value) == 64)


def _shown(value: Any) -> str:
    return "a file" if _is_digest(value) else repr(value)
