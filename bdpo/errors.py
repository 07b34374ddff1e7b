"""The one exception for what a user can put right, and how other errors and names of columns are quoted in it."""

import re
from collections.abc import Sequence

_COLUMN = re.compile(r"[\w.-]*( [\w.-]+){0,3}")
_LONGEST_COLUMN = 40
_MOST_COLUMNS = 12


class UserError(Exception):
    """A mistake in the user's input, settings or surroundings.

    Its message is one sentence that names the file, the field, the value and
    what would be right.  Entry points print it without a traceback and exit
    non-zero; any other exception is a bug and keeps its traceback.
    """


def shown_columns(names: Sequence[object]) -> str:
    """Names of columns, the first of them; but no texts, which stand in their place where a header line is missing."""
    texts = [str(name) for name in names[:_MOST_COLUMNS]]
    named = [len(text) <= _LONGEST_COLUMN and _COLUMN.fullmatch(text) is not None for text in texts]
    shown = ", ".join(
        f"`{text}`" if name else f"a name of {len(text)} characters" for text, name in zip(texts, named, strict=True)
    )
    return (shown or "none") + ("" if all(named) else " (is the header line missing?)")


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
