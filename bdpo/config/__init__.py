"""Typed settings, and their loading from YAML."""

from bdpo.config.loading import load_config
from bdpo.config.settings import (
    BenchmarkSettings,
    ColumnSettings,
    Config,
    DriftSettings,
    EarlyStoppingSettings,
    EvaluateSettings,
    IngestSettings,
    LoraSettings,
    ModelSettings,
    SampleSettings,
    ScoreSettings,
    SourceSettings,
    TrainSettings,
)

__all__ = [
    "BenchmarkSettings",
    "ColumnSettings",
    "Config",
    "DriftSettings",
    "EarlyStoppingSettings",
    "EvaluateSettings",
    "IngestSettings",
    "LoraSettings",
    "ModelSettings",
    "SampleSettings",
    "ScoreSettings",
    "SourceSettings",
    "TrainSettings",
    "load_config",
]
