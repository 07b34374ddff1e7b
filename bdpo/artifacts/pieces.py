"""Files named by their content, kept on object storage too: what one machine has finished, another need not do.

<url>/<place>/<SHA-256 of the file>.parquet
"""

import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from bdpo.artifacts.bucket import Bucket
from bdpo.artifacts.digest import digest_file

_NAME = re.compile(r"[0-9a-f]{64}\.parquet")


def unfinished(folder: Path, name: str = "") -> Path:
    """A name for what is being written into a folder of pieces; nobody else has it, in no container either."""
    return folder / f"new-{secrets.token_hex(8)}-{name}"


def finished(folder: Path) -> list[Path]:
    """The pieces of a folder, in an order that does not change; what is being written is none."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))


class Pieces:
    """The pieces of one place in a bucket, beside those of a folder here."""

    def __init__(self, bucket: Bucket, place: tuple[str, ...], folder: Path) -> None:
        """For `place` in a bucket and `folder` here, which exists; nothing is asked yet."""
        self._bucket = bucket
        self._place = place
        self._folder = folder
        self._there: set[str] = set()
        """What this process saw there, or put there."""

    def bring(self, say: Callable[[str], None]) -> int:
        """Fetch what is not here; how many pieces came.

        A piece whose content is not what its name says is left there: somebody may be writing it.

        Args:
            say: gets a line for each such piece.

        Raises:
            UserError: the bucket cannot be read.
            OSError: the disk here takes no more.
        """
        brought = 0
        self._there = {name for name in self._bucket.names(*self._place) if _NAME.fullmatch(name)}
        for name in sorted(self._there - {path.name for path in finished(self._folder)}):
            incoming = unfinished(self._folder, name)
            if not self._bucket.download(incoming, *self._place, name):
                continue
            if digest_file(incoming) == Path(name).stem:
                incoming.rename(self._folder / name)
                brought += 1
            else:
                incoming.unlink()
                self._there.discard(name)
                say(f"{self._bucket.address(*self._place, name)} is damaged or being written; it is not used")
        return brought

    def push(self) -> None:
        """Put there what is finished here.

        Raises:
            UserError: the bucket cannot be written to.
        """
        for path in finished(self._folder):
            if path.name not in self._there:
                self._bucket.upload(path, *self._place, path.name)
                self._there.add(path.name)

    def delete(self, names: Iterable[str]) -> None:
        """Delete pieces there, of those that `bring` saw.

        Raises:
            UserError: the bucket cannot be written to.
        """
        for name in sorted(self._there.intersection(names)):
            self._bucket.delete(*self._place, name)
            self._there.discard(name)
