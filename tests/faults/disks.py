"""Disks that are full or cannot be written to: real ones, mounted for the trial."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.subject import PATIENCE_S, do_stages, fork
from tests.faults.trial import Trial

_ROOM = 256 * 2**20
_NOBODY = 65534


def full(trial: Trial) -> None:
    """The artifacts lie on a disk of their own, with a seeded room left, or filled at a seeded moment."""
    trial.lay()
    with _own_disk(trial.root):
        filler = trial.root / "filler"
        if trial.fault.target == "room":
            _fill(filler, leave=int(trial.random.random() ** 2 * trial.scale.growth * 1.1))
            trial.report.moment = f"{shutil.disk_usage(trial.root).free} bytes free, of about {trial.scale.growth}"
            run = trial.start()
        else:
            number = trial.random.randint(0, trial.scale.changes)
            run = trial.start()
            trial.wait_until(run, number)
            _fill(filler, leave=0)
            trial.report.moment = f"full after change {number} of about {trial.scale.changes}"
        ended = run.wait()
        trial.note(run, ended, ("completed", "sentence"))
        if ended.means == "sentence" and not _names_disk(ended.said):
            trial.report.problems.append(f"the sentence does not name the disk: {ended.said}")
        filler.unlink()
        trial.carry_on()


def read_only(trial: Trial) -> None:
    """A folder is read-only from the start, or all of it from a moment on, or belongs to another user."""
    trial.lay()
    target = trial.fault.target
    if target == "other-user":
        _as_nobody(trial)
        return
    place = {"moment": trial.root, "artifacts": trial.root, "stage": trial.root / trial.stages[0]}.get(target)
    place = place or trial.root / "cache"
    place.mkdir(exist_ok=True)
    with _own_disk(place):
        if target == "moment":
            number = trial.random.randint(0, trial.scale.changes)
            run = trial.start()
            trial.wait_until(run, number)
            deadline = time.monotonic() + PATIENCE_S
            while not _remount(place, "ro") and not run.poll() and time.monotonic() < deadline:
                time.sleep(0.001)  # a file is open for writing
            trial.report.moment = f"after change {number} of about {trial.scale.changes}, when no file was open"
            _remount(place, "ro")
        else:
            _remount(place, "ro")
            trial.report.moment = "from the start"
            run = trial.start()
        ended = run.wait()
        trial.note(run, ended, ("completed", "sentence"))
        if ended.means == "sentence" and "the file system is read-only" not in ended.said:
            trial.report.problems.append(f"the sentence does not name the disk: {ended.said}")
        if not _remount(place, "rw"):
            trial.report.problems.append("the disk could not be made writable again")
        trial.carry_on()


def _as_nobody(trial: Trial) -> None:
    for folder, _, _ in os.walk(trial.folder):
        Path(folder).chmod(0o755)

    def work() -> None:
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
        do_stages(trial.config, trial.stages, ())

    trial.report.moment = "from the start"
    run = fork(work, trial.folder / "nobody.log")
    ended = run.wait()
    trial.note(run, ended, ("sentence",))
    if "permission is denied" not in ended.said:
        trial.report.problems.append(f"the sentence does not name the permission: {ended.said}")
    trial.carry_on()


@contextmanager
def _own_disk(place: Path) -> Iterator[None]:
    """A disk in memory, mounted over a folder with what the folder holds."""
    aside = place.with_name(f"{place.name}.aside")
    place.rename(aside)
    place.mkdir()
    _command("mount", "-t", "tmpfs", "-o", f"size={_ROOM}", "tmpfs", str(place))
    try:
        shutil.copytree(aside, place, dirs_exist_ok=True)
        shutil.rmtree(aside)
        yield
    finally:
        # What came of it is kept when the disk goes.
        shutil.copytree(place, aside, dirs_exist_ok=True)
        _command("umount", "-l", str(place))
        place.rmdir()
        aside.rename(place)


def _fill(filler: Path, *, leave: int) -> None:
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(shutil.disk_usage(filler.parent).free - leave, 1))
        if leave == 0:
            with suppress(OSError):
                while file.write(bytes(4096)):
                    pass


def _names_disk(said: str) -> bool:
    return "the disk is full" in said


def _remount(place: Path, how: str) -> bool:
    mount = shutil.which("mount")
    assert mount is not None
    return subprocess.run([mount, "-o", f"remount,{how}", str(place)], capture_output=True, check=False).returncode == 0


def _command(name: str, *arguments: str) -> None:
    path = shutil.which(name)
    if path is None:
        raise RuntimeError(f"there is no {name}: disks cannot be mounted here")
    subprocess.run([path, *arguments], check=True)
