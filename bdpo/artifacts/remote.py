"""Whole artifacts on object storage, for other machines: pushed when finished, fetched where they are missing.

<url>/<stage>/<fingerprint>/<files as here>
<url>/<stage>/<fingerprint>/manifest.sha256   digest of the manifest
<url>/<stage>/<fingerprint>/manifest.json     written last, removed first: without it there is no artifact
<url>/cache/<name>/<scope>/<files>            pieces of work that are not finished, by their content
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bdpo.artifacts.bucket import Bucket
from bdpo.artifacts.manifest import MANIFEST, Manifest, content_digest, file_damage, manifest_text, parse_manifest
from bdpo.artifacts.pieces import Pieces
from bdpo.progress import Progress

_MANIFEST_DIGEST = "manifest.sha256"
_PROBE = "writable"
_CACHE = "cache"


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
        self._bucket = Bucket(url)

    def folder(self, stage: str, fingerprint: str) -> str:
        """URL of an artifact."""
        return self._bucket.address(stage, fingerprint)

    def pieces(self, name: str, scope: Path) -> Pieces:
        """The pieces of a folder `scope` here, of the cache `name`."""
        return Pieces(self._bucket, (_CACHE, name, scope.name), scope)

    def require_writable(self) -> None:
        """Write a small object, so that hours of work do not end at a bucket that takes nothing.

        Raises:
            UserError: the store cannot be written to.
        """
        self._bucket.write(b"bdpo\n", _PROBE)

    def look(self, stage: str, fingerprint: str) -> RemoteCopy:
        """What is there of an artifact, by its manifest; its files are not read.

        Raises:
            UserError: the store cannot be read.
        """
        text = self._bucket.read(stage, fingerprint, MANIFEST)
        if text is None:
            return RemoteCopy(None, None)
        damage = f"{MANIFEST} was altered"
        try:
            manifest = parse_manifest(text)
        except ValueError:
            return RemoteCopy(None, damage)
        digest = self._bucket.read(stage, fingerprint, _MANIFEST_DIGEST)
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
        # What was replaced there since an attempt that was killed may have had other files.
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            if path.relative_to(folder).as_posix() not in manifest.files:
                path.unlink()
        progress.begin(f"fetch {manifest.stage}", len(manifest.files), "files")
        for name, entry in manifest.files.items():
            target = folder / name
            if file_damage(folder, name, entry) is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                if not self._bucket.download(target, manifest.stage, manifest.fingerprint, name):
                    raise DamagedCopy(f"{name} is missing")
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
        if self._bucket.read(stage, fingerprint, MANIFEST) is not None:
            self._bucket.delete(stage, fingerprint, MANIFEST)
        progress.begin(f"push {stage}", len(manifest.files), "files")
        for name in manifest.files:
            self._bucket.upload(folder / name, stage, fingerprint, name)
            progress.advance()
        text = manifest_text(manifest).encode()
        for name, data in ((_MANIFEST_DIGEST, hashlib.sha256(text).hexdigest().encode()), (MANIFEST, text)):
            self._bucket.write(data, stage, fingerprint, name)


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name and name != MANIFEST
