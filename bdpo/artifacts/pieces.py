"""Files named by their content, kept on object storage too: what one machine has finished, another need not do.

<url>/<place>/<SHA-256 of the file>.parquet
<url>/<place>/<SHA-256 of the file>.forgotten   a user wanted its content computed anew: who still has it keeps it
"""

import re
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from bdpo.artifacts.bucket import Bucket
from bdpo.artifacts.digest import digest_file

_NAME = re.compile(r"[0-9a-f]{64}\.parquet")
_MARK = re.compile(r"([0-9a-f]{64})\.forgotten")


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
        self._there: set[str] | None = None
        """What this process saw there, or put there; None before it has looked."""
        self._marked: set[str] = set()
        """What was marked there as forgotten."""
        self._outdated: set[str] = set()
        """What was here when that was seen; of the same name and marked, but not here then, is what was made since."""

    def bring(self, say: Callable[[str], None]) -> int:
        """Fetch what is not here; how many pieces came.

        A piece whose content is not what its name says is left there: somebody may be writing it.  So is one that
        is forgotten.

        Args:
            say: gets a line for each such piece.

        Raises:
            UserError: the bucket cannot be read.
            OSError: the disk here takes no more.
        """
        brought = 0
        there = self._look()
        for name in sorted(there - self._marked - {path.name for path in finished(self._folder)}):
            incoming = unfinished(self._folder, name)
            if not self._bucket.download(incoming, *self._place, name):
                continue
            if digest_file(incoming) == Path(name).stem:
                incoming.rename(self._folder / name)
                brought += 1
            else:
                incoming.unlink()
                there.discard(name)
                say(f"{self._bucket.address(*self._place, name)} is damaged or being written; it is not used")
        return brought

    def push(self) -> None:
        """Put there what is finished here; not what another machine has forgotten there since it came here.

        Raises:
            UserError: the bucket cannot be written to.
        """
        there = self._seen()
        for path in finished(self._folder):
            if path.name not in there | self._outdated:
                if path.name in self._marked:
                    # Computed anew, it came out the same.
                    self._bucket.delete(*self._place, _mark(path.name))
                    self._marked.discard(path.name)
                self._bucket.upload(path, *self._place, path.name)
                there.add(path.name)

    def delete(self, names: Iterable[str]) -> None:
        """Delete pieces there, of those that `bring` saw, so that no machine pushes them again.  Here they are gone.

        Raises:
            UserError: the bucket cannot be written to.
        """
        there = self._seen()
        gone = set(names)
        self._outdated -= gone
        for name in sorted(there & gone):
            self._bucket.write(b"forgotten\n", *self._place, _mark(name))
            self._marked.add(name)
            self._bucket.delete(*self._place, name)
            there.discard(name)

    def _seen(self) -> set[str]:
        """What is there, by the last look."""
        return self._look() if self._there is None else self._there

    def _look(self) -> set[str]:
        """See what is there now."""
        names = self._bucket.names(*self._place)
        self._there = {name for name in names if _NAME.fullmatch(name)}
        self._marked = {f"{mark[1]}.parquet" for mark in map(_MARK.fullmatch, names) if mark is not None}
        self._outdated = self._marked.intersection(path.name for path in finished(self._folder))
        return self._there


def _mark(name: str) -> str:
    """Name of the object that says that a piece is forgotten."""
    return f"{Path(name).stem}.forgotten"
