"""Objects below one URL of any file system that fsspec has a package for.

Nothing is asked of it but to list, read, write and delete single objects.  Credentials
and endpoints are whatever that package reads from the environment.
"""

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import fsspec

from bdpo.errors import UserError

_OWN_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_PAUSES_S = (2.0, 10.0)
"""Between the tries of a download."""
_OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"auto_mkdir": True},
    "local": {"auto_mkdir": True},
    # A listing that was true a minute ago says nothing of what another machine has pushed since.
    "s3": {"use_listings_cache": False, "skip_instance_cache": True},
}
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
}


class Bucket:
    """Objects are named by the parts of their path below the URL; the first request opens it.

    Every method raises a UserError that names the object where the store refuses, and an OSError
    where the disk here takes no more.
    """

    def __init__(self, url: str) -> None:
        """For `url`, such as `s3://bucket/prefix`; nothing is asked of it yet."""
        self.url = url.rstrip("/")

    def address(self, *parts: str) -> str:
        """URL of an object or folder."""
        return "/".join([self.url, *parts])

    def names(self, *parts: str) -> list[str]:
        """Names of what lies directly in a folder, in order; none where there is no folder."""
        with self._asked("listed", parts):
            self._system.invalidate_cache()
            try:
                paths: list[str] = self._system.ls(self._path(*parts), detail=False)
            except FileNotFoundError:
                return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def read(self, *parts: str) -> bytes | None:
        """Content of an object; None where it is missing."""
        with self._asked("read", parts):
            try:
                data: bytes = self._system.cat_file(self._path(*parts))
            except FileNotFoundError:
                return None
            return data

    def write(self, data: bytes, *parts: str) -> None:
        """Make an object."""
        with self._asked("written", parts):
            self._system.pipe_file(self._path(*parts), data)

    def upload(self, file: Path, *parts: str) -> None:
        """Make an object of a file."""
        with self._asked("written", parts):
            self._system.put_file(str(file), self._path(*parts))

    def download(self, file: Path, *parts: str) -> bool:
        """Write an object's content to a file; False where the object is missing.

        A connection that is lost amid a large object is no reason to lose a run: `s3fs` gives up at once there.
        """
        pauses = list(_PAUSES_S)
        with self._asked("read", parts):
            while True:
                try:
                    self._system.get_file(self._path(*parts), str(file))
                    return True
                except FileNotFoundError:
                    return False
                except Exception as error:
                    if not pauses or isinstance(error, PermissionError) or _is_own_disk(error):
                        raise
                    time.sleep(pauses.pop(0))

    def delete(self, *parts: str) -> None:
        """Delete an object that is there."""
        with self._asked("deleted", parts):
            self._system.rm_file(self._path(*parts))

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        protocol = self.url.partition("://")[0]
        try:
            system, root = fsspec.core.url_to_fs(self.url, **_OPTIONS.get(protocol, {}))
        except ImportError:
            package = _PACKAGES.get(protocol)
            remedy = (
                f"`pip install {package}`" if package else f"install the one that fsspec asks for with {protocol}://"
            )
            raise UserError(
                f"field `remote_artifacts`: {self.url} needs a package that is missing: {remedy}."
            ) from None
        except ValueError as error:
            raise UserError(f"field `remote_artifacts`: {self.url}: {_reason(error)}.") from error
        return system, root

    @property
    def _system(self) -> Any:
        return self._opened[0]

    def _path(self, *parts: str) -> str:
        return "/".join([self._opened[1].rstrip("/"), *parts])

    @contextmanager
    def _asked(self, how: str, parts: tuple[str, ...]) -> Iterator[None]:
        """Whatever goes wrong in a single request is the store's doing, and answered in a sentence."""
        system = self._system  # its own errors name the field
        assert system is not None
        try:
            yield
        except Exception as error:
            if _is_own_disk(error):
                raise
            raise UserError(f"{self.address(*parts)} cannot be {how}: {_reason(error)}{_remedy(error)}.") from error


def _is_own_disk(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in _OWN_DISK


def _reason(error: Exception) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    return said or type(error).__name__


def _remedy(error: Exception) -> str:
    """What to look at; the packages behind fsspec each have error types of their own."""
    said = f"{type(error).__name__} {error}".lower()
    if "credential" in said or "token" in said:
        return "; credentials are read from the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if isinstance(error, PermissionError):
        return "; the credentials in the environment need the right to read, write, delete and list there"
    if isinstance(error, FileNotFoundError):
        return "; make the bucket, or change `remote_artifacts`"
    if "connect" in said or "timeout" in said or "timed out" in said:
        return "; see whether the address is right and can be reached (AWS_ENDPOINT_URL names another than Amazon's)"
    return ""
