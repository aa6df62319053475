"""Outputs that are complete or absent: files by temp sibling + fsync + rename, folders staged beside their place.

A folder that a stage writes grows at ``.<name>.partial`` next to its final place and is renamed there when everything
is in it, so a killed run leaves nothing under the final name. The partial folder stays for ``--resume``; without it the
next run starts clean. A lock inside keeps two processes from writing one output.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from lungct.errors import EnvironmentError_, OutputExists

MANIFEST = "manifest.ndjson"
LOCK = ".lock"


@contextlib.contextmanager
def atomic_file(path: Path, *, overwrite: bool = True, durable: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that appears under ``path`` when the block ends well, and not at all otherwise.

    ``durable=False`` leaves out the fsync, for files inside a staged folder, which is synced as a whole.

    Raises:
        OutputExists: ``path`` is there and ``overwrite`` is false.
    """
    if path.exists() and not overwrite:
        raise OutputExists(f"{path} exists", "add --overwrite to replace it")
    temporary = path.with_name(f".{path.name}.partial")
    with _locked(temporary, path) as stream:
        try:
            yield stream
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException as problem:
            temporary.unlink(missing_ok=True)
            if isinstance(problem, OSError) and problem.filename is None:
                problem.filename = str(path)  # a full disk does not say where
            raise


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Where nothing can be written beside ``path``, the error names it and not the hidden name of the unfinished."""
    try:
        yield
    except OSError as problem:
        raise OSError(problem.errno, f"cannot be written here ({problem.strerror})", str(path)) from None


@contextlib.contextmanager
def _locked(temporary: Path, path: Path) -> Iterator[IO[bytes]]:
    """An empty file under a fixed name, which a rerun finds again; held by one process at a time."""
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = open(temporary, "ab")  # noqa: SIM115 - closed by the next line
    with opened as stream:
        _take(stream, temporary, path)
        stream.truncate(0)
        yield stream


def staging_of(path: Path) -> Path:
    """Where a folder that is to become ``path`` grows; a link to another disk is followed."""
    path = Path(os.path.realpath(path))
    return path.with_name(f".{path.name}.partial")


def write_bytes(path: Path, data: bytes, *, overwrite: bool = True, durable: bool = True) -> None:
    """Write ``data`` to ``path`` through :func:`atomic_file`."""
    with atomic_file(path, overwrite=overwrite, durable=durable) as stream:
        stream.write(data)


def write_json(path: Path, document: Any, *, overwrite: bool = True, indent: int | None = None) -> None:
    """Write a JSON document, UTF-8, with no NaN in it (other tools cannot read one)."""
    text = json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode(), overwrite=overwrite)


@contextlib.contextmanager
def staged_folder(path: Path, *, command: str = "", overwrite: bool = False, resume: bool = False) -> Iterator[Path]:
    """A folder to write into that becomes ``path`` when the block ends well.

    Yields the staging folder ``.<name>.partial``. With ``resume`` what an interrupted run left in it stays; a stage
    that offers ``--resume`` finds its own finished files there. On an error the partial folder stays too, for a later
    resume.

    Args:
        command: the subcommand that writes; with ``overwrite`` it replaces only what the same one made.

    Raises:
        OutputExists: ``path`` holds something and ``overwrite`` is false, or it is not a folder that this command of
            lungct made, or another process is writing it.
    """
    path = Path(os.path.realpath(path))  # a link to another disk is followed: the work is staged on that disk
    check_replaceable(path, overwrite=overwrite, command=command)
    staging = staging_of(path)
    with _naming(path):
        staging.mkdir(parents=True, exist_ok=True)
    with open(staging / LOCK, "w") as lock:
        _take(lock, staging / LOCK, path)
        try:
            if not resume:
                _empty(staging)
            yield staging
            _commit(staging, path)
        finally:
            if staging.is_dir() and os.listdir(staging) == [LOCK]:
                shutil.rmtree(staging)  # nothing was written, so there is nothing to resume


def check_replaceable(path: Path, *, overwrite: bool, command: str = "") -> None:
    """Refuse, before any work is done, an output that must not be written.

    Raises:
        OutputExists: see :func:`staged_folder`.
    """
    if os.path.ismount(path):
        raise OutputExists(f"{path} is where a disk is mounted", "name a folder inside it")
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise OutputExists(f"{path} is a file, and a folder is to be written", "name another output")
    if not any(path.iterdir()):
        return
    if not overwrite:
        raise OutputExists(f"{path} exists and is not empty", "add --overwrite to replace it, or name another output")
    maker = maker_of(path)
    if not maker:
        raise OutputExists(f"{path} was not made by lungct (no {MANIFEST})", "it is not replaced; name another output")
    if command and maker != command:
        raise OutputExists(f"{path} was made by lungct {maker}", "it is not replaced; name another output")


def check_file_replaceable(path: Path, *, overwrite: bool, starts: bytes) -> None:
    """Refuse, before any work is done, an output file that must not be written.

    Args:
        starts: first bytes of every file that the command writes; another file is not replaced.

    Raises:
        OutputExists: ``path`` is a folder, or a file and ``overwrite`` is false, or one of another kind.
    """
    if path.is_dir():
        raise OutputExists(f"{path} is a folder, and a file is to be written", "name another output")
    if not path.exists():
        return
    if not overwrite:
        raise OutputExists(f"{path} exists", "add --overwrite to replace it, or name another output")
    with open(path, "rb") as stream:
        found = stream.read(len(starts))
    if found and found != starts:
        raise OutputExists(f"{path} is no such file as lungct writes here", "it is not replaced; name another output")


def maker_of(folder: Path) -> str:
    """The subcommand that a folder's manifest names; empty where there is none."""
    try:
        with open(folder / MANIFEST, encoding="utf-8") as stream:
            return str(json.loads(stream.readline())["command"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _take(stream: IO[Any], name: Path, path: Path) -> None:
    """Lock the open file ``name`` on behalf of ``path``.

    Another process may have moved the file away between our opening and our locking of it: then the lock is on nothing.
    """
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        mine = False
    except OSError as problem:
        raise EnvironmentError_(f"{name.parent}: the file system cannot lock files ({problem.strerror})") from None
    else:
        mine = name.exists() and os.path.samestat(os.fstat(stream.fileno()), name.stat())
    if not mine:
        raise OutputExists(f"another process is writing {path}", "wait for it, or name another output")


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == LOCK:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _commit(staging: Path, path: Path) -> None:
    for folder, _, names in os.walk(staging):
        for name in names:
            _sync(os.path.join(folder, name))
        _sync(folder)
    (staging / LOCK).unlink(missing_ok=True)
    old = path.with_name(f".{path.name}.old-{os.getpid()}")
    if path.exists() and any(path.iterdir()):
        os.replace(path, old)
    os.replace(staging, path)
    _sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(name: str | Path) -> None:
    descriptor = os.open(name, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
