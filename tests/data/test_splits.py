"""Identities by independent arithmetic: SHA-256 of JSON."""

import hashlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bdpo.data.rows import Candidate
from bdpo.data.splits import identify


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


# `st.fixed_dictionaries` varies the order of the keys, which identities do not depend on.
MESSAGES = st.lists(
    st.builds(lambda role, content: {"role": role, "content": content}, st.text(max_size=9), st.text()), max_size=3
)


@given(MESSAGES, st.text(), st.text(), st.integers(), st.floats(0, 0.999))
def test_what_is_put_together_is_the_digest_of_the_whole(
    prompt: list[dict[str, str]], chosen: str, rejected: str, seed: int, fraction: float
) -> None:
    found = identify(Candidate(prompt, chosen, rejected), validation_fraction=fraction, seed=seed)
    assert found.pair_id == digest([prompt, chosen, rejected])[:24]
    assert found.unordered_id == digest([prompt, *sorted((chosen, rejected))])[:24]
    bare = [message | {"content": message["content"].strip()} for message in prompt]
    held_out = int(digest([seed, bare])[:16], 16) / 2**64 < fraction
    assert found.split == ("validation" if held_out else "train")
    turned = [dict(reversed(message.items())) for message in prompt]
    assert identify(Candidate(turned, chosen, rejected), validation_fraction=fraction, seed=seed) == found
    swapped = identify(Candidate(prompt, rejected, chosen), validation_fraction=fraction, seed=seed)
    assert (swapped.unordered_id, swapped.split) == (found.unordered_id, found.split)


def test_a_prompt_lies_in_one_split_whatever_white_space_is_around_it() -> None:
    def split(content: str) -> tuple[str, str]:
        found = identify(Candidate([{"role": "user", "content": content}], "a", "b"), validation_fraction=0.5, seed=0)
        return found.prompt_id, found.split

    around = {split(f"{before}Q{after}") for before in ("", "\n") for after in ("", " ", "\n", "\t ", "\r\n")}
    assert len(around) == 10  # other prompts, which the model reads as they are
    assert len({its_split for _, its_split in around}) == 1
