"""The one exception for what a user can put right, and how other errors are quoted in it."""


class UserError(Exception):
    """A mistake in the user's input, settings or surroundings.

    Its message is one sentence that names the file, the field, the value and
    what would be right.  Entry points print it without a traceback and exit
    non-zero; any other exception is a bug and keeps its traceback.
    """


def first_line(error: BaseException) -> str:
    """The first line of what an error says; its type where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
