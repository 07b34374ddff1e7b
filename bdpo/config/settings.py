"""The settings of a run, one class a section.

Every field has a docstring; unknown keys raise; a stage's section holds only
what that stage reads, because each of its fields is part of its fingerprint.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from bdpo.config.methods import METHODS, Balance, Method, Scale, methods_with

Dtype = Literal["float32", "bfloat16"]
TrackerName = Literal["wandb", "mlflow"]
DataFormat = Literal[
    "hh", "pku", "pku_safer", "pku_better", "preference", "sharegpt", "alpaca", "ultrafeedback", "beavertails"
]
BenchmarkFormat = Literal[
    "xstest",
    "strongreject",
    "harmbench",
    "advbench",
    "jailbreakbench",
    "gsm8k",
    "simpleqa",
    "advglue",
    "hhh",
    "prompts",
]
PublishedBenchmark = Literal[
    "xstest",
    "strongreject",
    "harmbench",
    "advbench",
    "gcg-vicuna",
    "gcg-llama2",
    "gcg-gpt35",
    "pair-vicuna",
    "pair-llama2",
    "pair-gpt35",
    "jbc-vicuna",
    "gsm8k",
    "simpleqa",
    "advglue",
    "hhh",
]
ValidationMetric = Literal["eval_loss", "eval_rewards/accuracies", "eval_rewards/margins"]
ClassifierKind = Literal["harmbench", "llama_guard", "wildguard", "strongreject"]


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


def _resolve_model(value: object) -> object:
    """Resolve a model's folder likewise; a name of the hub stays."""
    if isinstance(value, LocatedStr):
        folder = Path(value.folder, Path(value).expanduser())
        if folder.is_dir() or str(value).startswith((".", "/", "~")):
            return str(folder.resolve())
    return value


ModelPath = Annotated[str, BeforeValidator(_resolve_model)]
"""A folder, relative to the YAML file that names it, or a hub name."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ModelSettings(_Section):
    """The causal language model to align, which is also the frozen reference."""

    path: ModelPath = "embedded"
    """`embedded`, a folder with safetensors weights, or a hub name such as `Qwen/Qwen2-7B-Instruct`."""
    revision: str | None = None
    """Branch, tag or commit, for a hub name only."""
    dtype: Dtype = "bfloat16"
    """Arithmetic of scoring, training and generation alike, so that step 0 starts at log-ratio 0."""
    quantization: Literal["nf4"] | None = None
    """`nf4`: linear layers in 4 bits (QLoRA, arXiv 2305.14314) through `bitsandbytes`, to train adapters on a model
    that would not fit otherwise: it needs `train.lora` and bfloat16.  This 4-bit model is then the reference."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Attention implementation of `transformers`."""
    max_length: int = Field(1024, ge=8)
    """Longest prompt plus response, in tokens; a response is cut from its end."""
    max_prompt_length: int = Field(512, ge=4)
    """Longest prompt, in tokens; a prompt is cut from its start."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model.  Leave off unless you have read it."""

    @model_validator(mode="after")
    def _quantized_in_bfloat16(self) -> "ModelSettings":
        if self.quantization is not None and self.dtype != "bfloat16":
            raise ValueError(
                f"quantization {self.quantization} computes in bfloat16, not in {self.dtype}: change `dtype`"
            )
        return self

    @model_validator(mode="after")
    def _prompt_leaves_room(self) -> "ModelSettings":
        if self.max_prompt_length >= self.max_length:
            raise ValueError(
                f"max_prompt_length {self.max_prompt_length} leaves no room for a response: "
                f"it must be below max_length {self.max_length}"
            )
        return self


class ColumnSettings(_Section):
    """Which column holds each field of a preference row."""

    prompt: str = Field("prompt", min_length=1)
    """The prompt: a string or a list of messages."""
    chosen: str = Field("chosen", min_length=1)
    """The better response: a string, or a list of messages that ends with it."""
    rejected: str = Field("rejected", min_length=1)
    """The worse response, likewise."""
    category: str = Field("category", min_length=1)
    """Optional: the kind of harm."""
    chosen_safe: str = Field("chosen_safe", min_length=1)
    """Optional: whether the better response is safe."""
    rejected_safe: str = Field("rejected_safe", min_length=1)
    """Optional: whether the worse response is safe."""

    @model_validator(mode="after")
    def _each_of_its_own(self) -> "ColumnSettings":
        fields: dict[str, str] = {}
        for field, column in self.model_dump().items():
            if column in fields:
                raise ValueError(f"`{fields[column]}` and `{field}` both name the column {str(column)!r}")
            fields[column] = field
        return self


class SourceSettings(_Section):
    """Preference rows from files or from the hub."""

    path: ConfigPath | None = None
    """A file (JSONL, JSON or CSV, also as .gz or .zst; Parquet or Arrow), a folder of such files, or a glob
    such as `data/*.jsonl`; files are read in the order of their names."""
    hub: str | None = None
    """In place of `path`: a dataset of the Hugging Face hub, such as `PKU-Alignment/PKU-SafeRLHF`."""
    revision: str | None = None
    """Branch, tag or commit, for `hub` only; the commit it stands for is part of the fingerprint."""
    split: str = "train"
    """Split of the dataset, for `hub` only."""
    format: Literal["auto", DataFormat] = "auto"
    """`hh`: whole transcripts; `pku`: PKU-SafeRLHF, where the safe response is preferred, of two safe ones the better
    and of two unsafe ones the safer; `pku_safer`, `pku_better`: the same rows by one of their two ids alone;
    `preference`: prompt/chosen/rejected, plain or
    conversational; `sharegpt`, `alpaca`: as LLaMA-Factory reads them; `ultrafeedback`: binarized, with
    scores; `beavertails`: single labelled responses, paired within a prompt; `auto`: found by the columns."""
    columns: ColumnSettings | None = None
    """For rows of any other shape: which column holds `prompt`, `chosen`, `rejected`, ..."""
    name: str | None = None
    """Value of the column `source`; by default each row's own file, or the dataset."""
    limit: int | None = Field(None, ge=1)
    """Read only the first rows."""
    weight: float = Field(1.0, gt=0, le=1)
    """Share of the rows that is kept, each with this probability by its content (in `beavertails`, by its
    prompt), so that a row keeps its fate when others are added."""

    @field_validator("hub")
    @classmethod
    def _hub_name(cls, name: str | None) -> str | None:
        if name is not None and re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name) is None:
            raise ValueError(
                f"{str(name)!r} is no name of a hub dataset, such as `owner/name`; files are given as `path`"
            )
        return name

    @model_validator(mode="after")
    def _one_origin(self) -> "SourceSettings":
        if (self.path is None) == (self.hub is None):
            raise ValueError("a source has either a `path` or a `hub` dataset: give one of them")
        for name in ("revision", "split"):
            if self.hub is None and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`{name}` is for a `hub` dataset only: remove it")
        if self.columns is not None and self.format not in ("auto", "preference"):
            raise ValueError(f"`columns` names the fields of a preference row: remove it, or `format: {self.format}`")
        return self


class SampleSettings(_Section):
    """How many prompts of each kind are kept."""

    safe: int = Field(ge=0)
    """Prompts whose rejected responses are labelled safe."""
    unsafe: int = Field(ge=0)
    """Prompts with a rejected response that is labelled unsafe."""

    @model_validator(mode="after")
    def _not_empty(self) -> "SampleSettings":
        if self.safe + self.unsafe == 0:
            raise ValueError("a sample of no safe and no unsafe prompts is empty: ask for at least one")
        return self


class PromptFileSettings(_Section):
    """A file of evaluation prompts that no pair may repeat."""

    path: ConfigPath
    """CSV, JSONL or JSON, as under `evaluate.benchmarks`."""
    format: Literal["auto", BenchmarkFormat] = "auto"
    """As under `evaluate.benchmarks`."""


class DriftSettings(_Section):
    """How far the pairs may lie from those of an earlier artifact."""

    previous: ConfigPath
    """Folder of that artifact of ingestion; what it is compared by is its `pairs.parquet`."""
    max_response_length_ks: float = Field(0.1, ge=0, le=1)
    """A greater Kolmogorov-Smirnov distance of the responses' lengths fails the stage."""
    max_unsafe_rejected_change: float = Field(0.1, ge=0, le=1)
    """A greater change of the share of pairs whose rejected response is labelled unsafe fails the stage."""
    max_category_psi: float = Field(0.25, ge=0)
    """A greater population stability index of the categories fails the stage; by custom 0.1 is a small shift
    and 0.25 a large one."""


class IngestSettings(_Section):
    """Raw rows to validated pairs."""

    sources: list[SourceSettings] = Field(min_length=1)
    """Where the rows come from."""
    sample: SampleSettings | None = None
    """Keep only a sample of the accepted prompts, drawn by whether their rejected response is unsafe."""
    validation_fraction: float = Field(0.1, ge=0.0, lt=1.0)
    """Share of prompts held out from training."""
    seed: int = 0
    """Seed of the split, of the sources' weights and of the sample; a prompt keeps its side when rows are
    added."""
    max_chars: int = Field(100_000, ge=1)
    """A row whose prompt and longer response exceed this is quarantined as over-long."""
    evaluation_prompts: list[PromptFileSettings] = Field(default_factory=list)
    """Files of evaluation prompts, such as those of `evaluate.benchmarks`: a pair is quarantined where a message of
    its prompt has the words of one, or eight words in a row with it in common.  They are named here for their
    own sake, so that a benchmark added to the evaluation alone does not train the model anew."""
    near_duplicates: float | None = Field(None, ge=0.5, le=1.0)
    """Quarantine a pair whose last turn, prompt and responses each resemble an earlier pair's by this much, as the
    Jaccard similarity of their runs of three words; 0.8 is usual.  Off by default: what is exactly alike is always
    refused, what is merely similar may be wanted (a question asked in two ways), and the search takes longer than
    all other checks."""
    min_pairs: int = Field(1, ge=1)
    """Fewer accepted pairs than this, before any sample, fail the stage."""
    max_quarantined_fraction: float = Field(0.5, ge=0.0, le=1.0)
    """A larger share of quarantined rows fails the stage."""
    min_unsafe_rejected_fraction: float = Field(0.0, ge=0.0, le=1.0)
    """A smaller share of pairs whose rejected response is labelled unsafe fails the stage."""
    max_unsafe_rejected_fraction: float = Field(1.0, ge=0.0, le=1.0)
    """A larger share of pairs whose rejected response is labelled unsafe fails the stage."""
    min_median_response_chars: int = Field(0, ge=0)
    """A smaller median length of the responses, in characters, fails the stage."""
    max_median_response_chars: int | None = Field(None, ge=1)
    """A larger median length of the responses, in characters, fails the stage."""

    drift: DriftSettings | None = None
    """Compare with an earlier artifact; with none by default."""

    @model_validator(mode="after")
    def _limits_leave_room(self) -> "IngestSettings":
        if self.min_unsafe_rejected_fraction > self.max_unsafe_rejected_fraction:
            raise ValueError(
                f"min_unsafe_rejected_fraction {self.min_unsafe_rejected_fraction:g} is above "
                f"max_unsafe_rejected_fraction {self.max_unsafe_rejected_fraction:g}: no set of pairs can pass"
            )
        longest = self.max_median_response_chars
        if longest is not None and self.min_median_response_chars > longest:
            raise ValueError(
                f"min_median_response_chars {self.min_median_response_chars} is above "
                f"max_median_response_chars {longest}: no set of pairs can pass"
            )
        return self


class ScoreSettings(_Section):
    """Pairs to log-probs under the frozen reference model."""

    token_budget: int = Field(2048, ge=1)
    """Most tokens, padding included, in one forward pass (a single longer row goes alone).  The default
    is for CPUs, where more only takes memory and time; a GPU wants several times as many."""
    shard_sequences: int = Field(256, ge=1)
    """Sequences written at a time: the most that a killed run loses, of each process."""
    processes: int = Field(1, ge=1)
    """Processes that share the forward passes, each with a GPU of its own or its part of the CPU's cores.
    One process spreads a model over all GPUs that it needs."""


class LoraSettings(_Section):
    """Low-rank adapters (arXiv 2106.09685) in place of all weights, through `peft`."""

    rank: int = Field(16, ge=1)
    """Rank of the adapters."""
    alpha: int = Field(32, ge=1)
    """Adapters are scaled by alpha / rank."""
    target_modules: list[str] = Field(default_factory=lambda: ["all-linear"], min_length=1)
    """Names of the layers that get an adapter; `all-linear`: every linear layer but the output."""


class EarlyStoppingSettings(_Section):
    """End when the validation split no longer gains; the policy is then that of the best evaluation."""

    metric: ValidationMetric = "eval_loss"
    """What is watched; the loss should fall, the others rise."""
    patience: int = Field(3, ge=1)
    """Evaluations in a row without a new best, after which training ends."""


class TrainSettings(_Section):
    """Pairs and scores to an aligned model."""

    method: Method = "bdpo"
    """`dpo`; `dpo_bw`: balance weight alone; `dpo_sf`: scaling factor alone; `bdpo`: both; and the rivals
    `robust`, `ipo`, `hinge`, `simpo`, `cpo`, `safedpo`, `bounded_dpo`."""
    beta: float = Field(0.1, gt=0)
    """Scale of the rewards: the pull towards the reference model.  0.1 by default, for `simpo` 2."""
    balance: Balance | None = None
    """Form of the balance weight; the method's own by default."""
    scale: Scale | None = None
    """Form of the scaling factor; the method's own by default."""
    mi_floor: float = Field(0.05, gt=0)
    """Smallest mutual information, in nats a token, that a form divides by."""
    tau: float = Field(1.0, gt=0)
    """Temperature of the `softmax` balance weight, in nats a token."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Share of the labels that is taken to be wrong: conservative DPO, or the noise of `robust`."""
    gamma: float = Field(0.5, ge=0)
    """`simpo`: target margin of the rewards; by the token it is gamma / beta."""
    nll_weight: float = Field(1.0, ge=0)
    """`cpo`: weight of the chosen response's negative log-prob a token."""
    safety_margin: float = Field(10.0, ge=0)
    """`safedpo`: margin by which a safe response should beat an unsafe one, in units of the reward.  The
    paper's authors published no code; 10 is what a reimplementation of their experiments uses."""
    policy_share: float = Field(0.5, gt=0, le=1)
    """`bounded_dpo`: share of the policy in the mixture that the rejected response is measured with."""
    learning_rate: float = Field(5e-7, gt=0)
    """Peak learning rate of AdamW."""
    epochs: int = Field(1, ge=1)
    """Passes over the training split."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after this many optimizer steps."""
    batch_size: int = Field(16, ge=1)
    """Pairs an optimizer step, over all processes."""
    token_budget: int = Field(2048, ge=1)
    """Most tokens, padding included, in one forward and backward pass."""
    gradient_checkpointing: bool = False
    """Keep one activation a layer and compute the others again in the backward pass: about a third slower,
    with room for a larger token_budget or model."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """Learning rate after the warm-up; `linear` and `cosine` end at 0."""
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = Field(0.0, ge=0)
    """AdamW's decay of weight matrices; biases and norms are spared."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are clipped to this norm."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the data order, of the adapters' start, and of whatever a model's own code draws."""
    deterministic: bool = False
    """Only kernels that give the same bits each time, on a GPU slower ones; an operation that has none stops
    the training.  On a CPU a run gives the same bits without it."""
    lora: LoraSettings | None = None
    """Train adapters instead of all weights; `policy` has them merged, `adapter` holds them alone."""
    eval_every: int = Field(50, ge=1)
    """Steps between evaluations on the validation split; the last step is always evaluated."""
    early_stopping: EarlyStoppingSettings | None = None
    """Stop early; never by default."""
    checkpoint_every: int = Field(50, ge=1)
    """Steps between checkpoints: the most that a killed run repeats."""
    keep_checkpoints: int = Field(1, ge=1)
    """Latest checkpoints kept while training; the one with the best evaluation is kept besides."""
    report_to: list[TrackerName] = Field(default_factory=list)
    """Trackers that get the metrics besides, if installed: `wandb` and `mlflow`, each set up by its own
    environment variables."""
    processes: int = Field(1, ge=1)
    """Processes that the DeepSpeed launcher starts on each machine, one a GPU.  A checkpoint belongs to the number
    of processes that made it: going on with another is refused."""
    hostfile: ConfigPath | None = None
    """DeepSpeed hostfile (`name slots=N` a line) of a run on several machines; this machine alone by default.
    All have the same paths to Python, model and artifacts, and this one reaches them by ssh and `pdsh`."""
    launcher_args: list[str] = Field(default_factory=list)
    """More arguments for DeepSpeed's launcher, such as `--master_addr=10.0.0.1` or `--no_ssh_check`; machines and
    processes are chosen by the two fields above."""
    deepspeed: ConfigPath | None = None
    """A DeepSpeed JSON config for ZeRO and offload; batch sizes, optimizer, dtype and clipping come
    from this section.  By default ZeRO stage 0 for one process and 1 for several."""

    @model_validator(mode="before")
    @classmethod
    def _beta_of_the_method(cls, data: object) -> object:
        method = data.get("method") if isinstance(data, dict) else None
        if isinstance(data, dict) and "beta" not in data and isinstance(method, str) and method in METHODS:
            return data | {"beta": METHODS[method].beta}
        return data

    @model_validator(mode="after")
    def _applicable(self) -> "TrainSettings":
        applicable = METHODS[self.method].hyperparameters
        for name in sorted(frozenset().union(*(facts.hyperparameters for facts in METHODS.values())) - applicable):
            if getattr(self, name) != type(self).model_fields[name].default:
                users = ", ".join(methods_with(name))
                raise ValueError(f"`{name}` is not used by the method {self.method} (only by {users}): remove it")
        return self


class BenchmarkSettings(_Section):
    """Evaluation prompts from a file, or published ones by name."""

    path: ConfigPath | None = None
    """CSV, JSONL or JSON."""
    published: PublishedBenchmark | None = None
    """In place of `path`: fetched once from where its authors published it, at a pinned commit where there is
    one, and kept in the cache folder; `gcg-`, `pair-` and `jbc-` are JailbreakBench's attacks on those models."""
    format: Literal["auto", BenchmarkFormat] = "auto"
    """As published, each with its scoring rule in `bdpo.evaluation.formats`; `prompts`: CSV or JSONL with
    `prompt`, `label` (`harmful` or `harmless`) and optionally `category`; `auto`: found by the columns."""
    name: str | None = None
    """Name in the results; by default the published one, or the file's."""
    limit: int | None = Field(None, ge=1)
    """Use only this many prompts of each label, spread evenly over the file."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Longest completion here, in tokens, such as 256 for sums; that of the section by default."""

    @model_validator(mode="after")
    def _one_origin(self) -> "BenchmarkSettings":
        if (self.path is None) == (self.published is None):
            raise ValueError("a benchmark has either a `path` or a `published` name: give one of them")
        return self


class EndpointSettings(_Section):
    """A judge model behind an OpenAI-compatible endpoint; its key is read from `OPENAI_API_KEY`."""

    url: str
    """Base address, such as `http://localhost:8000/v1`."""
    model: str
    """The judge's name there."""
    requests_per_minute: float = Field(60.0, gt=0)
    """Most requests, retries included."""


class ClassifierSettings(_Section):
    """A guard or classifier model that judges, run here through `transformers`."""

    kind: ClassifierKind
    """Whose prompt and answers it has: `wildguard` judges refusal; `harmbench`, `strongreject` and `llama_guard`
    judge whether a completion does the harm that was asked for, so over-refusal is left to the rules."""
    path: ModelPath
    """A folder with safetensors weights, or a hub name such as `allenai/wildguard`."""
    revision: str | None = None
    """Branch, tag or commit, for a hub name only."""
    dtype: Dtype = "bfloat16"
    """Arithmetic of the classifier."""
    batch_size: int = Field(8, ge=1)
    """Completions judged and saved together."""


class LmEvalSettings(_Section):
    """Tasks of EleutherAI's evaluation harness, which is optional: `pip install lm-eval`."""

    tasks: list[str] = Field(min_length=1)
    """Names that `lm-eval ls tasks` shows; of a group, its tasks one by one."""
    include: list[ConfigPath] = Field(default_factory=list)
    """YAML files of tasks of your own that `tasks` names."""
    limit: int | None = Field(None, ge=1)
    """Use only the first samples of each task."""
    num_fewshot: int | None = Field(None, ge=0)
    """Examples in each prompt; the task's own number by default."""
    chat_template: bool = False
    """Put the prompts into the model's chat template."""


def _as_tasks(value: object) -> object:
    """A plain list of tasks, to the section that has them."""
    return {"tasks": value} if isinstance(value, list) else value


def _judge_tag(value: object) -> str:
    if isinstance(value, str):
        return "(rules)"
    fields = value if isinstance(value, dict) else dict(value) if isinstance(value, BaseModel) else {}
    return "(classifier)" if "kind" in fields else "(endpoint)"


JudgeSettings = Annotated[
    Annotated[Literal["rules"], Tag("(rules)")]
    | Annotated[EndpointSettings, Tag("(endpoint)")]
    | Annotated[ClassifierSettings, Tag("(classifier)")],
    Discriminator(_judge_tag),
]
"""The word `rules`, an endpoint (`url`, `model`) or a classifier (`kind`, `path`)."""


class EvaluateSettings(_Section):
    """Base model against aligned model on the same prompts."""

    benchmarks: list[BenchmarkSettings] = Field(min_length=1)
    """What both models are asked."""
    max_new_tokens: int = Field(64, ge=1)
    """Longest completion, in tokens; decoding is greedy."""
    batch_size: int = Field(32, ge=1)
    """Prompts generated and saved together: the most that a killed run loses."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What generates completions; `vllm` is optional and wants a GPU."""
    lm_eval: Annotated[LmEvalSettings | None, BeforeValidator(_as_tasks)] = None
    """More tasks of general ability, by `lm-eval`: a list of their names, or a section."""
    preference_pairs: int | None = Field(None, ge=0)
    """Held-out pairs whose ranking is compared; all of the validation split by default."""
    judge: JudgeSettings = "rules"
    """Who decides whether a completion refuses: `rules`; an endpoint that is asked with StrongREJECT's rubric
    (`{url: ..., model: ...}`); or a guard or classifier model (`{kind: wildguard, path: ...}`)."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """Level of every interval."""


class AblationSettings(_Section):
    """What `bdpo ablate` trains and compares on the same pairs and scores; read by no stage."""

    methods: dict[Method, dict[str, Any]] = Field(min_length=1)
    """Method to the fields of `train` that it has besides; the others are held against the first."""
    learning_rates: list[Annotated[float, Field(gt=0)]] = Field(min_length=1)
    """Tried by every method with the first seed; the one with the best validation goes on."""
    seeds: list[int] = Field(min_length=1)
    """Trainings of each method with its chosen learning rate; every one is evaluated."""
    choose_by: ValidationMetric = "eval_loss"
    """What is best, of a training's evaluations; each method's own loss is compared with itself alone."""


class Config(_Section):
    """A whole run.  `name`, the places of artifacts and `ablation` are read by no stage and recompute nothing."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run in tables and reports: letters, digits, `.`, `_` and `-`."""
    artifacts: ConfigPath = Field(default=Path("artifacts"), validate_default=True)
    """Folder of artifacts and of the catalogue `bdpo.duckdb`; `artifacts` in the working folder by default."""
    remote_artifacts: str | None = None
    """Where finished artifacts are kept for other machines too, such as `s3://bucket/prefix` (`pip install s3fs`), or
    another address that `fsspec` has a package for.  A run fetches from there what is missing here in place of
    computing it, and pushes what is missing there.  Credentials and endpoints are read from the environment
    (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_ENDPOINT_URL`, ...), and never stand in the address."""
    model: ModelSettings = ModelSettings()
    ingest: IngestSettings
    score: ScoreSettings = ScoreSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings
    ablation: AblationSettings | None = None
    """For `bdpo ablate` alone."""

    @field_validator("remote_artifacts")
    @classmethod
    def _address_without_secrets(cls, address: str | None) -> str | None:
        if address is not None and re.fullmatch(r"[a-z][a-z0-9+.-]*://[^@:?#\s]+", address) is None:
            # What is wrong may be that it holds a password, so the value is not repeated.
            raise ValueError(
                "what is given is no plain address such as `s3://bucket/prefix`; credentials and endpoints come from "
                "the environment"
            )
        return address

    @model_validator(mode="after")
    def _quantized_weights_stay(self) -> "Config":
        if self.model.quantization is not None and self.train.lora is None:
            raise ValueError(
                f"model.quantization {self.model.quantization} leaves no weights to train: ask for adapters, such as "
                "`train.lora.rank=16`"
            )
        return self

    @model_validator(mode="after")
    def _every_method_can_be_trained(self) -> "Config":
        if self.ablation is not None:
            for method in self.ablation.methods:
                try:
                    self.trained_by(method)
                except ValidationError as error:
                    first = error.errors()[0]
                    field = ".".join(str(part) for part in first["loc"])
                    reason = first["msg"].removeprefix("Value error, ")
                    raise ValueError(f"ablation.methods.{method}{field and '.'}{field}: {reason}") from None
        return self

    def trained_by(self, method: Method, **fields: Any) -> TrainSettings:
        """The training section of one method of the ablation.

        Args:
            method: of `ablation.methods`.
            fields: of the section, over those of the method.
        """
        assert self.ablation is not None, "there is an ablation"
        own = self.train.model_dump(exclude_unset=True) | {"method": method} | self.ablation.methods[method]
        return TrainSettings.model_validate(own | fields)
