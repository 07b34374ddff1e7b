"""Stage 1: raw preference rows to validated pairs."""
