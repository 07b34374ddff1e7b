"""The settings of a run, one class a section.

Every field has a docstring; unknown keys raise; a stage's section holds only
what that stage reads, because each of its fields is part of its fingerprint.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Dtype = Literal["float32", "bfloat16"]
Method = Literal["dpo", "dpo_bw", "dpo_sf", "bdpo"]
Balance = Literal["none", "inverse", "softmax"]
Scale = Literal["none", "harmonic", "norm"]


class LocatedStr(str):
    """A string that knows the folder of the YAML file it stands in."""

    folder: Path

    def __new__(cls, text: str, folder: Path) -> "LocatedStr":
        """`text`, found in a file of `folder`."""
        located = super().__new__(cls, text)
        located.folder = folder
        return located


def _resolve(value: object) -> object:
    """Resolve a path against the YAML file it came from, else the working folder."""
    if not isinstance(value, (str, Path)) or not str(value):
        return value
    path = Path(value).expanduser()
    folder = value.folder if isinstance(value, LocatedStr) else Path.cwd()
    return Path(folder, path).resolve()


ConfigPath = Annotated[Path, BeforeValidator(_resolve)]
"""A path; a relative one is relative to the YAML file that names it, or to the
working folder when it comes from `--set`."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelSettings(_Section):
    """The causal language model to align, which is also the frozen reference."""

    path: str = "embedded"
    """`embedded`, a folder with safetensors weights, or a hub name such as `Qwen/Qwen2-7B-Instruct`."""
    revision: str | None = None
    """Branch, tag or commit, for a hub name only."""
    dtype: Dtype = "bfloat16"
    """Arithmetic of scoring, training and generation alike, so that step 0 starts at log-ratio 0."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Attention implementation of `transformers`."""
    max_length: int = Field(1024, ge=8)
    """Longest prompt plus response, in tokens; a response is cut from its end."""
    max_prompt_length: int = Field(512, ge=4)
    """Longest prompt, in tokens; a prompt is cut from its start."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model.  Leave off unless you have read it."""

    @model_validator(mode="before")
    @classmethod
    def _folder_relative_to_yaml(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("path"), LocatedStr):
            folder = Path(data["path"].folder, Path(data["path"]).expanduser())
            if folder.is_dir() or str(data["path"]).startswith((".", "/", "~")):
                data = data | {"path": str(folder.resolve())}
        return data

    @model_validator(mode="after")
    def _prompt_leaves_room(self) -> "ModelSettings":
        if self.max_prompt_length >= self.max_length:
            raise ValueError(
                f"max_prompt_length {self.max_prompt_length} leaves no room for a response: "
                f"it must be below max_length {self.max_length}"
            )
        return self


class SourceSettings(_Section):
    """One file of preference rows."""

    path: ConfigPath
    """JSONL, JSONL.gz, JSON, CSV or Parquet."""
    format: Literal["auto", "hh", "pku", "preference"] = "auto"
    """`hh`: whole transcripts; `pku`: PKU-SafeRLHF; `preference`: prompt/chosen/rejected, plain or
    conversational; `auto`: found by the columns."""
    name: str | None = None
    """Value of the column `source`; the file's name by default."""
    limit: int | None = Field(None, ge=1)
    """Read only the first rows."""


class IngestSettings(_Section):
    """Raw rows to validated pairs."""

    sources: list[SourceSettings] = Field(min_length=1)
    """Where the rows come from."""
    validation_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of prompts held out from training."""
    seed: int = 0
    """Seed of the split; a prompt keeps its side when rows are added."""
    max_chars: int = Field(100_000, ge=1)
    """A row whose prompt and longer response exceed this is quarantined as over-long."""
    min_pairs: int = Field(1, ge=1)
    """Fewer accepted pairs than this fail the stage."""
    max_quarantined_fraction: float = Field(0.5, ge=0.0, le=1.0)
    """A larger share of quarantined rows fails the stage."""


class ScoreSettings(_Section):
    """Pairs to log-probs under the frozen reference model."""

    token_budget: int = Field(4096, ge=1)
    """Most tokens, padding included, in one forward pass (a single longer row goes alone)."""
    shard_sequences: int = Field(256, ge=1)
    """Sequences written at a time: the most that a killed run loses."""


class TrainSettings(_Section):
    """Pairs and scores to an aligned model."""

    method: Method = "bdpo"
    """`dpo`; `dpo_bw`: balance weight alone; `dpo_sf`: scaling factor alone; `bdpo`: both."""
    beta: float = Field(0.1, gt=0)
    """Strength of the pull towards the reference model."""
    balance: Balance | None = None
    """Form of the balance weight; the method's own by default."""
    scale: Scale | None = None
    """Form of the scaling factor; the method's own by default."""
    mi_floor: float = Field(0.05, gt=0)
    """Smallest mutual information, in nats a token, that a form divides by."""
    tau: float = Field(1.0, gt=0)
    """Temperature of the `softmax` balance weight, in nats a token."""
    learning_rate: float = Field(5e-7, gt=0)
    """Peak learning rate of AdamW."""
    epochs: int = Field(1, ge=1)
    """Passes over the training split."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after this many optimizer steps."""
    batch_size: int = Field(16, ge=1)
    """Pairs an optimizer step, over all processes."""
    token_budget: int = Field(4096, ge=1)
    """Most tokens, padding included, in one forward and backward pass."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Learning rate after the warm-up; `linear` and `cosine` end at 0."""
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decay of weight matrices; biases and norms are spared."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are clipped to this norm."""
    seed: int = 0
    """Seed of the data order."""
    eval_every: int = Field(50, ge=1)
    """Steps between evaluations on the validation split; the last step is always evaluated."""
    checkpoint_every: int = Field(50, ge=1)
    """Steps between checkpoints: the most that a killed run repeats."""
    keep_checkpoints: int = Field(1, ge=1)
    """Checkpoints kept while training."""
    processes: int = Field(1, ge=1)
    """Processes that the DeepSpeed launcher starts on this machine."""
    deepspeed: ConfigPath | None = None
    """A DeepSpeed JSON config for ZeRO and offload; batch sizes, optimizer, dtype and clipping come
    from this section.  ZeRO stage 1 by default."""


class BenchmarkSettings(_Section):
    """One file of evaluation prompts."""

    path: ConfigPath
    """CSV or JSONL."""
    format: Literal["auto", "xstest", "strongreject", "prompts"] = "auto"
    """`xstest`, `strongreject`: as published; `prompts`: JSONL with `prompt`, `label` (`harmful` or
    `harmless`) and optionally `category`; `auto`: found by the columns."""
    name: str | None = None
    """Name in the results; the file's name by default."""
    limit: int | None = Field(None, ge=1)
    """Use only this many prompts of each label, spread evenly over the file."""


class EvaluateSettings(_Section):
    """Base model against aligned model on the same prompts."""

    benchmarks: list[BenchmarkSettings] = Field(min_length=1)
    """What both models are asked."""
    max_new_tokens: int = Field(64, ge=1)
    """Longest completion, in tokens; decoding is greedy."""
    batch_size: int = Field(32, ge=1)
    """Prompts generated and saved together: the most that a killed run loses."""
    preference_pairs: int | None = Field(None, ge=0)
    """Held-out pairs whose ranking is compared; all of the validation split by default."""
    judge: Literal["rules"] = "rules"
    """Who decides whether a completion refuses."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """Level of every interval."""


class Config(_Section):
    """A whole run.  `name` and `artifacts` are read by no stage and recompute nothing."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run in tables and reports: letters, digits, `.`, `_` and `-`."""
    artifacts: ConfigPath = Field(default=Path("artifacts"), validate_default=True)
    """Folder of artifacts and of the catalogue `bdpo.duckdb`; `artifacts` in the working folder by default."""
    model: ModelSettings = ModelSettings()
    ingest: IngestSettings
    score: ScoreSettings = ScoreSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings
