"""Balanced DPO: from raw preference rows to a safety-aligned model with evidence."""

__version__ = "0.1.0"
