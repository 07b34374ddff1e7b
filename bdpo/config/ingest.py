"""Section `ingest`."""

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from bdpo.config.evaluate import BenchmarkFormat
from bdpo.config.section import ConfigPath, DataPath, Section

DataFormat = Literal[
    "hh", "pku", "pku_safer", "pku_better", "preference", "sharegpt", "alpaca", "ultrafeedback", "beavertails"
]


class ColumnSettings(Section):
    """Which column holds each field of a preference row."""

    prompt: str = Field("prompt", min_length=1)
    """The prompt: a string or a list of messages."""
    chosen: str = Field("chosen", min_length=1)
    """The better response: a string, or a list of messages that ends with it."""
    rejected: str = Field("rejected", min_length=1)
    """The worse response, likewise."""
    system: str = Field("system", min_length=1)
    """Optional: a system prompt that comes before the prompt."""
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


class SourceSettings(Section):
    """Preference rows from files or from the hub."""

    path: DataPath | None = None
    """A file (JSONL, JSON or CSV, also as .gz or .zst; Parquet or Arrow), a folder of such files, or a glob
    such as `data/*.jsonl`; files are read in the order of their names."""
    hub: str | None = None
    """In place of `path`: a dataset of the Hugging Face hub, such as `PKU-Alignment/PKU-SafeRLHF`."""
    revision: str | None = None
    """Branch, tag or commit, for `hub` only; the commit it stands for is part of the fingerprint."""
    subset: str | None = Field(None, min_length=1)
    """Subset (configuration) of the dataset, such as `alpaca-7b` of PKU-SafeRLHF, for `hub` only."""
    data_dir: str | None = Field(None, min_length=1)
    """Folder of the dataset that is read alone, such as `harmless-base` of Anthropic/hh-rlhf, for `hub` only."""
    split: str = "train"
    """Split of the dataset, such as `train_prefs` of HuggingFaceH4/ultrafeedback_binarized, for `hub` only."""
    format: Literal["auto", DataFormat] = "auto"
    """`hh`: whole transcripts; `pku`: PKU-SafeRLHF, where the safe response is preferred, of two safe ones the better
    and of two unsafe ones the safer; `pku_safer`, `pku_better`: the same rows by one of their two ids alone,
    with or without safety labels; `preference`: prompt/chosen/rejected, plain or
    conversational; `sharegpt`, `alpaca`: as LLaMA-Factory reads them; `ultrafeedback`: binarized, with
    scores; `beavertails`: single labelled responses, paired within a prompt; `auto`: found by the
    columns of the first rows; where these are `preference`, later rows with scores are read as `ultrafeedback`, and
    where they are `pku_better`, later rows with all columns as `pku`."""
    columns: ColumnSettings | None = None
    """For rows of any other shape: which column holds `prompt`, `chosen`, `rejected`, ..."""
    name: str | None = None
    """Value of the column `source`; by default each row's own file without its ending, or the dataset."""
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
        for name in ("revision", "subset", "data_dir", "split"):
            if self.hub is None and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"`{name}` is for a `hub` dataset only: remove it")
        if self.columns is not None and self.format not in ("auto", "preference"):
            raise ValueError(f"`columns` names the fields of a preference row: remove it, or `format: {self.format}`")
        return self


class SampleSettings(Section):
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


class PromptFileSettings(Section):
    """A file of evaluation prompts that no pair may repeat."""

    path: DataPath
    """CSV, JSONL or JSON, as under `evaluate.benchmarks`."""
    format: Literal["auto", BenchmarkFormat] = "auto"
    """As under `evaluate.benchmarks`."""


class DriftSettings(Section):
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


class IngestSettings(Section):
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
    its prompt has the words of one (of a dialogue, messages in a row those of its turns), of an attack's goal or of a
    behaviour without its context, or eight words in a row with one of these in common that are no stock phrase such as
    "a step-by-step guide on how to"; of Chinese and Japanese two characters count as a word, of Thai, Lao, Khmer and
    Burmese three.  They are named here for their own sake, so that a benchmark added to the evaluation alone does not
    train the model anew."""
    near_duplicates: float | None = Field(None, ge=0.5, le=1.0)
    """Quarantine a pair whose last turn, prompt and two responses each resemble an earlier pair's by this much, as
    the Jaccard similarity of their runs of three words; 0.8 is usual.  Off by default: what is exactly alike is always
    refused, what is merely similar may be wanted (a question asked in two ways), and the search takes longer than
    all other checks.  It finds 99 of 100 at least, but for pairs made by one pattern, of which many are half alike."""
    min_pairs: int = Field(1, ge=1)
    """Fewer accepted pairs than this, before any sample, fail the stage."""
    max_quarantined_fraction: float = Field(0.5, ge=0.0, le=1.0)
    """A larger share of quarantined rows fails the stage; responses that none was left to pair with
    (`unpaired_response`) do not count, on either side of the share."""
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
