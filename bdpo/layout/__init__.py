"""From chat messages to token rows, and from token rows to the tensors of one forward pass.

Nothing is imported from here: `rows` alone needs torch, which ingestion's processes do without.
"""
