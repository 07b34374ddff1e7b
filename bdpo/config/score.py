"""Section `score`."""

from pydantic import Field

from bdpo.config.section import Section


class ScoreSettings(Section):
    """Pairs to log-probs under the frozen reference model."""

    token_budget: int = Field(3072, ge=1)
    """Most tokens, padding included, in one forward pass (a single longer row goes alone).  The default
    is for CPUs, where more only takes memory and time; a GPU wants several times as many, such as 8192."""
    shard_sequences: int = Field(256, ge=1)
    """Sequences written at a time: the most that a killed run loses, of each process."""
    processes: int = Field(1, ge=1)
    """Processes that share the forward passes, each with a GPU of its own or its part of the CPU's cores.
    One process spreads a model over all GPUs that it needs."""
