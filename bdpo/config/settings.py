"""The settings of a run: its sections, each in a file of its own, and what holds between them.

Every field has a docstring; unknown keys raise; a stage's section holds only
what that stage reads, because each of its fields is part of its fingerprint.
"""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from bdpo.config.evaluate import EvaluateSettings
from bdpo.config.ingest import IngestSettings
from bdpo.config.methods import Method, unused
from bdpo.config.model import ModelSettings
from bdpo.config.score import ScoreSettings
from bdpo.config.section import ConfigPath, Section
from bdpo.config.train import TrainSettings, ValidationMetric

_PLAIN_ADDRESS = re.compile(r"file://[^@:?#\s](?:[^@:?#\s]| )*|[a-z][a-z0-9+.-]*://[^@:?#\s]+")
"""Names of folders may have spaces."""


class AblationSettings(Section):
    """What `bdpo ablate` trains and compares on the same pairs and scores; no stage reads it."""

    methods: dict[Method, dict[str, Any]] = Field(min_length=1)
    """Method to the fields of `train` that are its own; the section's others are given to each method that uses them.
    The other methods are compared with the first."""
    learning_rates: list[Annotated[float, Field(gt=0)]] = Field(min_length=1)
    """Tried by every method with the first seed; the one whose policy does best on the validation split goes on."""
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(min_length=1)
    """Trainings of each method with its chosen learning rate; every one is evaluated."""
    choose_by: ValidationMetric = "eval_loss"
    """What makes a policy the best; losses are only ever compared within one method."""

    @field_validator("seeds", "learning_rates")
    @classmethod
    def _each_once(cls, values: list[Any]) -> list[Any]:
        twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
        if twice is not None:
            raise ValueError(f"{twice} is there twice, and would be one training: remove one")
        return values


class MethodFieldsError(ValueError):
    """The fields of a method are not those of `train`."""

    def __init__(self, method: Method, error: ValidationError) -> None:
        """Keep what was wrong, so that its place can be told."""
        first = error.errors()[0]
        self.location = ("ablation", "methods", method)
        self.error = error
        super().__init__(f"{'.'.join(map(str, (*self.location, *first['loc'])))}: {first['msg']}")


class Config(Section):
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
        if address is None or _PLAIN_ADDRESS.fullmatch(address):
            return address
        # What is wrong may be that it holds a password, so the value is not repeated.
        remedy = "credentials and endpoints come from the environment"
        if address.startswith("/"):
            remedy = "a folder's begins with `file://`, as in `file:///mnt/shared`"
        elif address.startswith(("abfs://", "abfss://", "az://")):
            remedy = "on Azure, write `az://container/prefix` and set AZURE_STORAGE_ACCOUNT_NAME in the environment"
        raise ValueError(f"this is not a plain address such as `s3://bucket/prefix`; {remedy}")

    @model_validator(mode="after")
    def _quantized_weights_stay(self) -> "Config":
        if self.model.quantization is not None and self.train.lora is None:
            raise ValueError(
                f"model.quantization {self.model.quantization} leaves no weights to train: ask for adapters, such as "
                "`train.lora.rank=16`"
            )
        return self

    @model_validator(mode="after")
    def _quantized_here_alone(self) -> "Config":
        others = {"engine": self.evaluate.engine == "vllm", "lm_eval": self.evaluate.lm_eval is not None}
        for field, used in others.items():
            if self.model.quantization is not None and used:
                raise ValueError(
                    f"evaluate.{field} would load the base model in 16 bits, and the reference is that of "
                    f"model.quantization {self.model.quantization}: leave evaluate.{field} out"
                )
        return self

    @model_validator(mode="after")
    def _every_method_can_be_trained(self) -> "Config":
        if self.ablation is not None:
            for method in self.ablation.methods:
                try:
                    self.trained_by(method)
                except ValidationError as error:
                    raise MethodFieldsError(method, error) from None
        return self

    def trained_by(self, method: Method, **fields: Any) -> TrainSettings:
        """The training section of one method of the ablation: what it uses of `train`, and its own.

        Args:
            method: of `ablation.methods`.
            fields: of the section, over those of the method.
        """
        assert self.ablation is not None, "there is an ablation"
        own = self.ablation.methods[method] | fields
        shared = self.train.model_dump(exclude_unset=True)
        forms = [own.get(name, shared.get(name)) for name in ("balance", "scale")]
        useless = unused(method, *forms)
        shared = {name: value for name, value in shared.items() if name not in useless}
        return TrainSettings.model_validate(shared | {"method": method} | own)
