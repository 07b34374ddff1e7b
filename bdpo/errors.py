"""Exceptions for what a user can put right and for failed processes, and how what they quote is shown."""

import re
from collections.abc import Sequence

_COLUMN = re.compile(r"[\w.-]*( [\w.-]+){0,3}")
_LONGEST_COLUMN = 40
_MOST_COLUMNS = 12
_NAME = r"""[^\s"'/?#,:@[]*:"""
_SECRET = r"""[^\s"'/?#]|["'](?![\s,:;.)\]}]|$)"""
"""A comma and an apostrophe may be of a password; a quote that closes a text ends its address."""
_PORT_AND_PATH = r"\d{1,5}[/?#]"
_USER = re.compile(
    r"(?<=://)(?:"
    r"""[^\s"'/?#,:]+"""  # a token
    rf"|{_NAME}(?:{_SECRET})+"
    rf"|{_NAME}(?!{_PORT_AND_PATH})(?:[/?#]|{_SECRET})+"  # characters that should have been quoted
    r")@"
)


class UserError(Exception):
    """A mistake in the user's input, settings or surroundings.

    Its message is one sentence that names the file, the field, the value and
    what would be right, and holds no password.  Entry points print it without
    a traceback and exit non-zero; any other exception is a bug and keeps its traceback.
    """

    def __init__(self, message: str) -> None:
        """Take the message; what it quotes may hold an address with a password, such as a tracker's."""
        super().__init__(without_users(message))


class ProcessFailed(RuntimeError):  # noqa: N818 (named for what happened)
    """A child process ended by an error of its own: a bug, and the last lines of its log are in the message."""


def shown_columns(names: Sequence[object]) -> str:
    """Names of columns, the first of them; but no texts, which stand in their place where a header line is missing."""
    texts = [str(name) for name in names[:_MOST_COLUMNS]]
    named = [len(text) <= _LONGEST_COLUMN and _COLUMN.fullmatch(text) is not None for text in texts]
    shown = ", ".join(
        f"`{text}`" if name else f"a name of {len(text)} characters" for text, name in zip(texts, named, strict=True)
    )
    return (shown or "none") + ("" if all(named) else " (is the header line missing?)")


def first_line(error: BaseException) -> str:
    """The first line of what an error says, without passwords; its type where it says nothing."""
    return without_users((str(error).strip() or type(error).__name__).splitlines()[0])


def without_users(text: str) -> str:
    """A text in whose addresses `***` stands in place of user and password."""
    return _USER.sub("***@", text)
