"""Stage 3: pairs and scores to an aligned model, by DeepSpeed."""
