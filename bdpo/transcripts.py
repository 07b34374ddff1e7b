r"""Transcripts as HH-RLHF writes them, `\n\nHuman: ...\n\nAssistant: ...`: their turns as messages."""

HUMAN = "\n\nHuman:"
ASSISTANT = "\n\nAssistant:"


def is_transcript(value: str) -> bool:
    """Whether a text has a turn of a transcript in it."""
    return HUMAN in value or ASSISTANT in value


def as_written(value: str) -> str:
    r"""A transcript with other line ends (`\r\n`) or other white space before its first turn as HH-RLHF writes it.

    Any other text comes back as it is, such as one that says something before it shows a transcript.
    """
    written = value.replace("\r\n", "\n") if "\r\n\r\n" in value else value
    begins = written.lstrip()
    return f"\n\n{begins}" if begins_with_speaker(begins) and is_transcript(written) else value


def begins_with_speaker(value: str) -> bool:
    """Whether a text begins with the name of a speaker, after any white space."""
    return value.lstrip().startswith((HUMAN.lstrip(), ASSISTANT.lstrip()))


def begins_transcript(value: str) -> bool:
    """Whether a text begins with the user's turn of a transcript."""
    return as_written(value).startswith(HUMAN)


def open_turns(value: str) -> list[dict[str, str]] | None:
    """The turns of a transcript, less a last one that is the assistant's name alone; None where a text is none."""
    written = as_written(value)
    if not written.startswith((HUMAN, ASSISTANT)):
        return None
    turns = turns_of(written)
    return turns[:-1] if turns[-1] == {"role": "assistant", "content": ""} else turns


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
