"""Finding, loading and saving models and tokenizers."""

from bdpo.models.loading import load_for_inference, load_model, load_reference, load_tokenizer
from bdpo.models.source import ModelSource, resolve_model

__all__ = ["ModelSource", "load_for_inference", "load_model", "load_reference", "load_tokenizer", "resolve_model"]
