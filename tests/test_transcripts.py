"""Transcripts to turns, and back."""

from hypothesis import given
from hypothesis import strategies as st

from bdpo.transcripts import as_written, begins_transcript, is_transcript, open_turns, turns_of

_SAID = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])).map(str.strip)


@given(st.lists(st.tuples(_SAID, _SAID), max_size=4), _SAID)
def test_the_turns_of_a_transcript_are_those_it_was_written_from(earlier: list[tuple[str, str]], last: str) -> None:
    turns = [
        {"role": role, "content": said}
        for pair in earlier
        for role, said in zip(("user", "assistant"), pair, strict=True)
    ]
    turns.append({"role": "user", "content": last})
    names = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: "}
    text = "".join(names[turn["role"]] + turn["content"] for turn in turns)
    assert turns_of(text) == turns
    assert open_turns(f"{text}\n\nAssistant:") == turns
    assert open_turns(text) == turns, "without the name of who is to answer"
    assert open_turns(f"{text}\n\nAssistant: begun") == [*turns, {"role": "assistant", "content": "begun"}]
    for other in (text.replace("\n", "\r\n"), f"\n {text}", f"{text}\n\nAssistant:".lstrip()):
        assert open_turns(other) == turns
        assert as_written(other).startswith(text)
    assert is_transcript(text)
    assert begins_transcript(text)


def test_what_is_none() -> None:
    for text in ("", "Human: hello", "He said\n\nHuman: hello\n\nAssistant:", "He said\r\n\r\nHuman: hello"):
        assert open_turns(text) is None
        assert as_written(text) == text
    assert not is_transcript("Human: hello")
    assert turns_of("Before.\n\nAssistant: I am here") == [{"role": "assistant", "content": "I am here"}]
