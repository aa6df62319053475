"""Many cases through one function: in processes or not, in order, resumable, with or without stopping at a failure."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from lungct import __version__
from lungct.errors import EnvironmentError_, InputError, LungctError
from lungct.io import atomic
from lungct.preprocessing.shard import WHOLE, Shard
from lungct.types import Progress, no_progress

Item = TypeVar("Item")
Record: TypeAlias = dict[str, Any]
DONE = ".done"


@dataclass(frozen=True)
class Running:
    """How a stage goes through its cases.

    Attributes:
        workers: processes beside this one; 0 works in this one.
        keep_going: leave out cases whose input is bad rather than stop at the first.
        resume: take over cases that an interrupted run has finished with the same options.
        overwrite: replace an output that lungct made.
        shard: which of the source's cases to work on; it may have none.
    """

    workers: int = 0
    keep_going: bool = False
    resume: bool = False
    overwrite: bool = False
    progress: Progress = no_progress
    shard: Shard = WHOLE


@dataclass(frozen=True)
class Ledger:
    """What is finished in a staging folder: one small JSON file per case, removed before the folder is in its place."""

    staging: Path
    fingerprint: str

    @classmethod
    def of(cls, staging: Path, stated: Mapping[str, Any]) -> Ledger:
        """The ledger of a run by its options; cases of another version of lungct are not taken over."""
        return cls(staging, json.dumps({"version": __version__, **stated}, sort_keys=True))

    def finished(self, name: str, key: str) -> Record | None:
        """The record of a case finished from the same input (``key``) with the same options, all its files there."""
        try:
            entry: Record = json.loads(self._path(name).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if entry["fingerprint"] != self.fingerprint or entry["key"] != key:
            return None
        return dict(entry["record"]) if all((self.staging / one).is_file() for one in entry["files"]) else None

    def store(self, name: str, key: str, record: Record, files: Iterable[str]) -> None:
        """Note a case as finished; called after its files are written."""
        entry = {"fingerprint": self.fingerprint, "key": key, "files": list(files), "record": record}
        atomic.write_bytes(self._path(name), json.dumps(entry).encode(), durable=False)

    def close(self, kept: Iterable[str]) -> None:
        """Leave only the files ``kept``: no trace of the ledger, nor of cases that the input no longer has."""
        wanted = {self.staging / name for name in (*kept, atomic.LOCK)}
        for folder, _, names in os.walk(self.staging, topdown=False):
            for path in (Path(folder, name) for name in names):
                if path not in wanted:
                    path.unlink()
            if Path(folder) != self.staging and not os.listdir(folder):
                os.rmdir(folder)

    def _path(self, name: str) -> Path:
        return self.staging / DONE / f"{name}.json"


@dataclass(frozen=True)
class Outcome:
    """Records in the order of the items, and ``case: reason`` of those left out."""

    records: Sequence[Record]
    failed: Sequence[str] = field(default_factory=tuple)


def run_cases(what: str, work: Callable[[Item], Record], items: Mapping[str, Item], running: Running) -> Outcome:
    """``work`` on each named item; it must be picklable when there are workers.

    Raises:
        LungctError: the first case that fails; under ``keep_going`` only when every case fails, and no other shard
            has more.
    """
    done: dict[str, Record] = {}
    failed: dict[str, str] = {}
    for count, (name, result) in enumerate(_results(work, items, running.workers), 1):
        try:
            done[name] = result()
        except BrokenProcessPool:
            problem = "a worker process was killed, as a machine does that is short of memory"
            raise EnvironmentError_(problem, "take fewer --workers; --resume goes on from here") from None
        except LungctError as failure:
            if not running.keep_going:
                raise
            failed[name] = str(failure)
        running.progress(what, count, len(items))
    lines = tuple(f"{name}: {failed[name]}" for name in items if name in failed)
    if lines and not done and running.shard.is_whole:
        raise InputError(f"every case failed; the first: {lines[0]}")
    return Outcome([done[name] for name in items if name in done], lines)


def _results(
    work: Callable[[Item], Record], items: Mapping[str, Item], workers: int
) -> Iterator[tuple[str, Callable[[], Record]]]:
    if workers == 0 or len(items) < 2:
        for name, item in items.items():
            yield name, lambda item=item: work(item)  # type: ignore[misc]
        return
    # Forked copies of a process with threads (ITK, BLAS) may hang: start clean ones.
    context = multiprocessing.get_context("spawn")
    level = logging.getLogger("lungct").getEffectiveLevel()
    with ProcessPoolExecutor(min(workers, len(items)), context, _start_worker, (level,)) as pool:
        names: dict[Future[Record], str] = {pool.submit(work, item): name for name, item in items.items()}
        try:
            for future in as_completed(names):
                yield names[future], future.result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(level: int) -> None:
    """Warnings of a worker look like those of the command line, and it ends with the process that it works for."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("lungct: %(levelname)s: %(message)s"))
    logger = logging.getLogger("lungct")
    logger.handlers[:] = [handler]
    logger.setLevel(level)


def _end_with_parent() -> None:
    """A worker whose parent is killed would wait for more work for ever, and write where a resumed run writes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
