"""The rule judge's knowledge of language: one kind of evidence a module."""
