"""Stage 2: pairs to log-probs under the frozen reference model."""
