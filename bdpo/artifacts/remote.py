"""Whole artifacts on object storage, for other machines: pushed when finished, fetched where they are missing.

<url>/<stage>/<fingerprint>/<files as here>
<url>/<stage>/<fingerprint>/manifest.sha256   digest of the manifest
<url>/<stage>/<fingerprint>/manifest.json     written last, removed first: without it there is no artifact

Any file system that fsspec has a package for will do; nothing is asked of it but to
read, write and delete single objects.  Credentials and endpoints are whatever that
package reads from the environment.
"""

import errno
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from bdpo.artifacts.manifest import MANIFEST, Manifest, content_digest, file_damage, manifest_text, parse_manifest
from bdpo.errors import UserError
from bdpo.progress import Progress

_MANIFEST_DIGEST = "manifest.sha256"
_PROBE = "writable"
_OWN_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
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


class DamagedCopy(Exception):  # noqa: N818 (named for what was found)
    """What the remote store has of an artifact is not what was pushed; the message says how."""


@dataclass(frozen=True)
class RemoteCopy:
    """What the remote store has of one artifact."""

    manifest: Manifest | None
    """None where there is no whole artifact."""
    damage: str | None
    """Why what is there cannot be used."""


class RemoteStore:
    """Artifacts below one URL, such as `s3://bucket/prefix`."""

    def __init__(self, url: str) -> None:
        """For `url`; nothing is asked of it yet."""
        self.url = url.rstrip("/")

    def folder(self, stage: str, fingerprint: str) -> str:
        """URL of an artifact."""
        return f"{self.url}/{stage}/{fingerprint}"

    def require_writable(self) -> None:
        """Write a small object, so that hours of work do not end at a bucket that takes nothing.

        Raises:
            UserError: the store cannot be written to.
        """
        with self._asked(f"{self.url}/{_PROBE}", "written"):
            self._system.pipe_file(self._path(_PROBE), b"bdpo\n")

    def look(self, stage: str, fingerprint: str) -> RemoteCopy:
        """What is there of an artifact, by its manifest; its files are not read.

        Raises:
            UserError: the store cannot be read.
        """
        text = self._read(stage, fingerprint, MANIFEST)
        if text is None:
            return RemoteCopy(None, None)
        damage = f"{MANIFEST} was altered"
        try:
            manifest = parse_manifest(text)
        except ValueError:
            return RemoteCopy(None, damage)
        digest = self._read(stage, fingerprint, _MANIFEST_DIGEST)
        as_pushed = digest == hashlib.sha256(text).hexdigest().encode()
        if not as_pushed or (manifest.stage, manifest.fingerprint) != (stage, fingerprint):
            return RemoteCopy(None, damage)
        outside = next((name for name in manifest.files if not _stays_inside(name)), None)
        if outside is not None or manifest.content != content_digest(manifest.files):
            return RemoteCopy(None, f"{MANIFEST} names {outside!r}" if outside is not None else damage)
        return RemoteCopy(manifest, None)

    def fetch(self, manifest: Manifest, folder: Path, progress: Progress) -> None:
        """Bring an artifact's files into a folder, its manifest last; files that a killed fetch left are kept.

        Args:
            manifest: of the artifact, as `look` found it.
            folder: gets the files.
            progress: where to show what happens.

        Raises:
            DamagedCopy: a file is missing, or its size or digest is not the manifest's.
            UserError: the store cannot be read.
            OSError: the disk here takes no more.
        """
        progress.begin(f"fetch {manifest.stage}", len(manifest.files), "files")
        for name, entry in manifest.files.items():
            target = folder / name
            if file_damage(folder, name, entry) is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                self._fetch_file(manifest, name, target)
                damage = file_damage(folder, name, entry)
                if damage is not None:
                    raise DamagedCopy(damage)
            progress.advance()
        (folder / MANIFEST).write_text(manifest_text(manifest), encoding="utf-8")

    def push(self, folder: Path, manifest: Manifest, progress: Progress) -> None:
        """Put a whole artifact there, in place of one that may be there; killed half-way, there is none.

        Args:
            folder: the artifact.
            manifest: its own.
            progress: where to show what happens.

        Raises:
            UserError: the store cannot be written to.
        """
        stage, fingerprint = manifest.stage, manifest.fingerprint
        if self._read(stage, fingerprint, MANIFEST) is not None:
            with self._asked(self.folder(stage, fingerprint), "replaced"):
                self._system.rm_file(self._path(stage, fingerprint, MANIFEST))
        progress.begin(f"push {stage}", len(manifest.files), "files")
        for name in manifest.files:
            with self._asked(f"{self.folder(stage, fingerprint)}/{name}", "written"):
                self._system.put_file(str(folder / name), self._path(stage, fingerprint, name))
            progress.advance()
        text = manifest_text(manifest).encode()
        for name, data in ((_MANIFEST_DIGEST, hashlib.sha256(text).hexdigest().encode()), (MANIFEST, text)):
            with self._asked(f"{self.folder(stage, fingerprint)}/{name}", "written"):
                self._system.pipe_file(self._path(stage, fingerprint, name), data)

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

    def _read(self, stage: str, fingerprint: str, name: str) -> bytes | None:
        with self._asked(f"{self.folder(stage, fingerprint)}/{name}", "read"):
            try:
                data: bytes = self._system.cat_file(self._path(stage, fingerprint, name))
            except FileNotFoundError:
                return None
            return data

    def _fetch_file(self, manifest: Manifest, name: str, target: Path) -> None:
        url = f"{self.folder(manifest.stage, manifest.fingerprint)}/{name}"
        with self._asked(url, "read"):
            try:
                self._system.get_file(self._path(manifest.stage, manifest.fingerprint, name), str(target))
            except FileNotFoundError as error:
                raise DamagedCopy(f"{name} is missing") from error

    @contextmanager
    def _asked(self, url: str, how: str) -> Iterator[None]:
        """Whatever goes wrong in a single request is the store's doing, and answered in a sentence."""
        system = self._system  # its own errors name the field
        assert system is not None
        try:
            yield
        except DamagedCopy:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _OWN_DISK:
                raise
            raise UserError(f"{url} cannot be {how}: {_reason(error)}{_remedy(error)}.") from error


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


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name and name != MANIFEST
