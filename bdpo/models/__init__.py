"""Finding, loading and saving models and tokenizers."""
