"""How many pairs lose text for their length."""

from collections.abc import Iterable
from typing import NamedTuple

from bdpo.layout.chat import TokenizedPair


class Cuts(NamedTuple):
    """Of some pairs, whose prompts count once for each pair."""

    pairs: int
    prompts: int
    """Prompts that lose their beginning."""
    responses: int
    """Responses that lose their end, of two a pair."""

    @classmethod
    def of(cls, pairs: Iterable[TokenizedPair]) -> "Cuts":
        """Count them."""
        found = [(pair.prompt_is_cut, pair.cut_responses) for pair in pairs]
        return cls(len(found), sum(prompt for prompt, _ in found), sum(responses for _, responses in found))

    def shown(self, *, max_length: int, max_prompt_length: int) -> str | None:
        """A sentence, and the limits that were met; None where nothing is cut."""
        if not self.prompts and not self.responses:
            return None
        return (
            f"{self.prompts} of {self.pairs} prompts lose their beginning (model.max_prompt_length="
            f"{max_prompt_length}), {self.responses} of {2 * self.pairs} responses their end "
            f"(model.max_length={max_length})"
        )
