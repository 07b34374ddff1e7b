"""Typed settings, and their loading from YAML."""

from bdpo.config.evaluate import BenchmarkSettings, EvaluateSettings
from bdpo.config.ingest import ColumnSettings, DriftSettings, IngestSettings, SampleSettings, SourceSettings
from bdpo.config.loading import load_config
from bdpo.config.model import ModelSettings
from bdpo.config.score import ScoreSettings
from bdpo.config.settings import Config
from bdpo.config.train import EarlyStoppingSettings, LoraSettings, TrainSettings

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
