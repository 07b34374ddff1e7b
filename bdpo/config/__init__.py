"""Typed settings, and their loading from YAML."""

from bdpo.config.loading import load_config
from bdpo.config.settings import (
    BenchmarkSettings,
    Config,
    EarlyStoppingSettings,
    EvaluateSettings,
    IngestSettings,
    LoraSettings,
    ModelSettings,
    ScoreSettings,
    SourceSettings,
    TrainSettings,
)

__all__ = [
    "BenchmarkSettings",
    "Config",
    "EarlyStoppingSettings",
    "EvaluateSettings",
    "IngestSettings",
    "LoraSettings",
    "ModelSettings",
    "ScoreSettings",
    "SourceSettings",
    "TrainSettings",
    "load_config",
]
