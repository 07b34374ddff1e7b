"""Stage 4: base model against aligned model on the same prompts."""
