"""Anthropic's HH-RLHF: each side is a whole transcript."""

from collections.abc import Mapping
from typing import Any

from bdpo.data.formats.fields import text
from bdpo.data.rows import Candidate, RowProblem
from bdpo.transcripts import ASSISTANT, HUMAN, as_written, begins_with_speaker, turns_of


def parse_hh(row: Mapping[str, Any]) -> Candidate:
    """Anthropic HH-RLHF (Anthropic/hh-rlhf on the hub): two transcripts that part at the last assistant turn.

    Raises:
        RowProblem: a field is missing, a transcript has no such turns, an answer is none (`check_answer`), or the
            prompts differ.
    """
    chosen, rejected = as_written(text(row, "chosen")), as_written(text(row, "rejected"))
    (prompt, answer), (other_prompt, other_answer) = _part(chosen, "chosen"), _part(rejected, "rejected")
    turns = turns_of(prompt)
    if prompt != other_prompt and turns != turns_of(other_prompt):
        raise RowProblem("prompts_differ", "the two transcripts part before the last assistant turn")
    meta = {name: value for name, value in row.items() if name not in ("chosen", "rejected")}
    return Candidate(turns, answer.strip(), other_answer.strip(), meta=meta)


def check_answer(answer: str, name: str) -> None:
    """Refuse an answer that begins with a speaker's name, as 34 of harmless-base's test split do with `Human:`.

    The assistant went on with the user's turn, or took its own for it: whose words follow cannot be told, and the
    name would be learned as how to begin.

    Args:
        answer: the last turn of a transcript, or a plain text.
        name: the field, for the reason of a refusal.

    Raises:
        RowProblem: it begins so (`malformed_transcript`).
    """
    if begins_with_speaker(answer):
        raise RowProblem("malformed_transcript", f"the answer of `{name}` begins with 'Human:' or 'Assistant:' itself")


def _part(transcript: str, name: str) -> tuple[str, str]:
    """What comes before the last turn of a transcript, which is the assistant's, and what is said in it."""
    prompt, turn, answer = transcript.rpartition(ASSISTANT)
    asked = answer.rpartition(HUMAN)[1] if turn else transcript.partition(HUMAN)[1]
    begins = min((at for at in map(transcript.find, (HUMAN, ASSISTANT)) if at >= 0), default=-1)
    if begins < 0 or transcript[:begins].strip():
        raise RowProblem("malformed_transcript", f"`{name}` does not begin with '\\n\\nHuman:' or '\\n\\nAssistant:'")
    if asked:
        raise RowProblem("does_not_end_with_assistant", f"`{name}` does not end with an assistant turn")
    check_answer(answer, name)
    return prompt, answer
