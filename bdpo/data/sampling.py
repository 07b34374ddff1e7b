"""Which rows of a source, and which prompts of all of them, a run takes: the same when rows are added."""

import hashlib
from collections.abc import Mapping
from typing import Literal

from bdpo.data.splits import share_of
from bdpo.errors import UserError

Kind = Literal["safe", "unsafe"]


def is_kept(row: str | bytes, *, weight: float, seed: int) -> bool:
    """Whether a source of this weight keeps a row: with probability `weight`, by its content alone.

    Args:
        row: what decides; equal rows share their fate.
        weight: share of the rows to keep, at most 1.
        seed: another seed keeps others.
    """
    if weight >= 1:
        return True
    content = row.encode(errors="surrogatepass") if isinstance(row, str) else row
    return share_of("weight", seed, hashlib.sha256(content).hexdigest()) < weight


def draw_prompts(
    kinds: Mapping[str, Kind], *, num_safe: int, num_unsafe: int, num_unlabelled: int, seed: int
) -> set[str]:
    """Draw prompts by the safety of their rejected responses; a drawn prompt keeps all of its pairs.

    The prompts of each kind with the smallest digests are taken, so that added rows displace as few as
    they must.

    Args:
        kinds: prompt_id to `unsafe` where a rejected response is labelled unsafe, `safe` where one is
            labelled safe and none unsafe.
        num_safe: safe prompts to draw.
        num_unsafe: unsafe prompts to draw.
        num_unlabelled: prompts without any label, which are never drawn.
        seed: another seed draws others.

    Returns:
        The drawn prompt_ids.

    Raises:
        UserError: there are fewer prompts of a kind than asked for.
    """
    drawn: set[str] = set()
    for kind, wanted in (("safe", num_safe), ("unsafe", num_unsafe)):
        there = [prompt for prompt, its_kind in kinds.items() if its_kind == kind]
        if len(there) < wanted:
            raise UserError(
                f"ingest.sample.{kind} asks for {wanted} prompts whose rejected response is {kind}, and there are "
                f"{len(there)} (and {num_unlabelled} whose pairs carry no `rejected_safe`); ask for at most that many."
            )
        drawn.update(sorted(there, key=lambda prompt: share_of("sample", seed, prompt))[:wanted])
    return drawn
