r"""Transcripts as HH-RLHF writes them, `\n\nHuman: ...\n\nAssistant: ...`: their turns as messages."""

HUMAN = "\n\nHuman:"
ASSISTANT = "\n\nAssistant:"


def is_transcript(value: str) -> bool:
    """Whether a text has a turn of a transcript in it."""
    return HUMAN in value or ASSISTANT in value


def begins_transcript(value: str) -> bool:
    """Whether a text begins with the user's turn of a transcript."""
    return value.lstrip(" ").startswith(HUMAN)


def open_turns(value: str) -> list[dict[str, str]] | None:
    """The turns of a transcript that waits for the assistant's answer; None where a text is none."""
    prompt, turn, answer = value.rpartition(ASSISTANT)
    if not turn or answer.strip() or not begins_transcript(value):
        return None
    return turns_of(prompt)


def turns_of(prompt: str) -> list[dict[str, str]]:
    """Messages with `role` and `content`, one a turn; what stands before the first turn is none."""
    turns: list[dict[str, str]] = []
    start, *asked = prompt.split(HUMAN)
    turns += [{"role": "assistant", "content": said.strip()} for said in start.split(ASSISTANT)[1:]]
    for part in asked:
        question, *answers = part.split(ASSISTANT)
        turns.append({"role": "user", "content": question.strip()})
        turns += [{"role": "assistant", "content": said.strip()} for said in answers]
    return turns
