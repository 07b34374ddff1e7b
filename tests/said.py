"""A progress that keeps what is said."""

from bdpo.progress import Silent


class Said(Silent):
    """Keeps what is said, one text a call."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def say(self, message: str) -> None:
        self.texts.append(message)
