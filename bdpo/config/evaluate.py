"""Section `evaluate`."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from bdpo.config.section import ConfigPath, DataPath, Dtype, ModelPath, Section

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
ClassifierKind = Literal["harmbench", "llama_guard", "wildguard", "strongreject"]


class BenchmarkSettings(Section):
    """Evaluation prompts from a file, or published ones by name."""

    path: DataPath | None = None
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
    """Use only this many prompts of each label, spread over the file; those of a smaller limit are among them."""
    max_new_tokens: int | None = Field(None, ge=1)
    """Longest completion here, in tokens, such as 256 for sums; that of the section by default."""

    @model_validator(mode="after")
    def _one_origin(self) -> "BenchmarkSettings":
        if (self.path is None) == (self.published is None):
            raise ValueError("a benchmark has either a `path` or a `published` name: give one of them")
        return self


def require_http_address(address: str) -> str:
    """The address, if it is a base that paths can be put behind: of HTTP, with a host, and no more than a path.

    Raises:
        ValueError: it is none; where it has a user or a query, which may be a secret, it is not repeated.
    """
    if any(sign in address for sign in "@?#"):
        raise ValueError(
            "this is not a plain address such as `http://localhost:8000/v1`; no user, query or fragment belongs there, "
            "and a key is read from the environment"
        )
    try:
        parts = urlsplit(address)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port or an address in brackets that is none
        known = False
    if not known or any(character.isspace() for character in address):
        raise ValueError(f"{address!r} is no address such as `http://localhost:8000/v1`")
    return address


class EndpointSettings(Section):
    """A judge model behind an OpenAI-compatible endpoint; its key is read from `OPENAI_API_KEY`."""

    url: str
    """Base address, such as `http://localhost:8000/v1`."""
    model: str
    """The judge's name there."""
    requests_per_minute: float = Field(60.0, gt=0)
    """Most requests, retries included; one follows another, so a judge that takes 3 seconds is asked 20 times."""

    @field_validator("url")
    @classmethod
    def _address(cls, url: str) -> str:
        return require_http_address(url)


class ClassifierSettings(Section):
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


class LmEvalSettings(Section):
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


class EvaluateSettings(Section):
    """Base model against aligned model on the same prompts."""

    benchmarks: list[BenchmarkSettings] = Field(min_length=1)
    """What both models are asked."""
    max_new_tokens: int = Field(64, ge=1)
    """Longest completion, in tokens; decoding is greedy, whatever the model's `generation_config.json` asks for."""
    batch_size: int = Field(32, ge=1)
    """Prompts generated and saved together: the most that a killed run loses."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What generates completions; `vllm` is optional and wants a GPU."""
    lm_eval: Annotated[LmEvalSettings | None, BeforeValidator(_as_tasks)] = None
    """More tasks of general ability, by `lm-eval`: a list of their names, or a section."""
    preference_pairs: int | None = Field(None, ge=0)
    """Held-out pairs whose ranking is compared, one a prompt; one of each prompt of the validation split by default."""
    judge: JudgeSettings = "rules"
    """Who decides whether a completion refuses: `rules`; an endpoint that is asked with StrongREJECT's rubric
    (`{url: ..., model: ...}`); or a guard or classifier model (`{kind: wildguard, path: ...}`)."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """Level of every interval."""

    @field_validator("judge", mode="before")
    @classmethod
    def _a_word_is_rules(cls, judge: object) -> object:
        if isinstance(judge, str) and judge != "rules":
            raise ValueError(
                f"{str(judge)!r} is no judge: write `rules`, `{{url: ..., model: ...}}` for an endpoint or "
                "`{kind: wildguard, path: ...}` for a model that is run here"
            )
        return judge
