"""What is said of a source, without its identifiers: what lies below its folder is told by our names."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lungct.errors import LungctError
from lungct.sources.pseudonym import Naming

logger = logging.getLogger("lungct")
_FOLDERS = frozenset({"images", "annotations", "annotation", "scans", "masks", "lungs", "dicom"})
_TABLES = frozenset(
    {"nodules.csv", "slices.csv", "annotations.csv", "annotations_excluded.csv", "seriesuids.csv", "labels.csv"}
    | {"dl_info.csv", "dlcsd24_annotations.csv", "manifest.ndjson", "slices.json"}
)
_SUFFIX = re.compile(
    r"\.(nii|nii\.gz|mhd|mha|nrrd|nhdr|z?raw|dcm|png|jpe?g|bmp|tiff?|npy|csv|xlsx|n?d?json|xml)$", re.IGNORECASE
)
HINT = "--keep-ids shows names and cells as they are"


@dataclass(frozen=True)
class Hiding:
    """What must not be said of a source.

    Attributes:
        root: the folder or file that the user named; it is said as it is.
        naming: how the names of files and folders below it become ours.
    """

    root: Path
    naming: Naming

    def shown(self, path: Path) -> str:
        """A path with the names below the root replaced that may be identifiers."""
        try:
            below = path.relative_to(self.root).parts
        except ValueError:
            return str(path)
        return str(self.root.joinpath(*map(self._part, below)))

    def _part(self, part: str) -> str:
        if part.lower() in _FOLDERS | _TABLES or part == "..":
            return part
        suffix = _SUFFIX.search(part)
        if suffix is None:
            return self.naming.published("folder", part)
        return self.naming.published("case", part[: suffix.start()]) + suffix[0]

    def clean(self, text: str, paths: tuple[Path, ...] = ()) -> str:
        """A message without the names of files below the root; ``paths`` are those that it may speak of."""
        said: list[str] = []

        def mark(name: str) -> str:
            """Stands for a name until no path is left to be found."""
            said.append(name)
            return f"\0{len(said) - 1}\0"

        for path in sorted({path for path in paths if path != self.root}, key=lambda one: -len(str(one))):
            for spelling in (str(path), str(path.absolute()), " ".join(str(path).split())):
                if spelling in text:
                    text = text.replace(spelling, mark(self.shown(path)))
            if path.suffix and path.is_relative_to(self.root):
                either = "|".join(map(re.escape, {path.name, " ".join(path.name.split())}))
                name = re.compile(rf"(?<![\w.])({either})(?![\w.])")
                text = name.sub(lambda _, path=path: mark(Path(self.shown(path)).name), text)  # type: ignore[misc]
        for root in {str(self.root), str(self.root.absolute())} - {"."}:
            text = re.sub(
                re.escape(root) + r"[/\\]([^\n\"']*?)(?=: |, |['\")\n]|$)",
                lambda found: mark(self.shown(self.root / found[1])),
                text,
            )
        text = re.sub(r"""(?<!\w)('[^']*'|"[^"]*")(?!\w)""", self._quoted, text)
        return re.sub("\0(\\d+)\0", lambda found: said[int(found[1])], text)

    def _quoted(self, found: re.Match[str]) -> str:
        """What stands in quotes is a cell or an element's text, and where columns have shifted it may be a name."""
        text = found[0][1:-1]
        known = "\0" in text or not re.search(r"\w{3}", text) or self.naming.published("", text) == text
        return found[0] if known else "'...'"


@contextmanager
def hiding(where: Hiding, paths: tuple[Path, ...] = ()) -> Iterator[None]:
    """Errors raised inside, those that they came from, and log lines say no name of a file below the root.

    Nothing is hidden where the user keeps identifiers.
    """
    if where.naming.keep_ids:
        yield
        return

    def rewrite(record: logging.LogRecord) -> bool:
        record.msg, record.args = where.clean(record.getMessage(), paths), None
        return True

    logger.addFilter(rewrite)
    try:
        yield
    except Exception as problem:
        seen: BaseException | None = problem
        while seen is not None:
            _rewrite(seen, where, paths)
            seen = seen.__cause__ or seen.__context__
        raise
    finally:
        logger.removeFilter(rewrite)


def _rewrite(problem: BaseException, where: Hiding, paths: tuple[Path, ...]) -> None:
    if isinstance(problem, OSError):
        for name in ("filename", "filename2"):
            given = getattr(problem, name)
            if isinstance(given, (str, Path)):
                setattr(problem, name, where.shown(Path(given)))
    if isinstance(problem, LungctError):
        paths = (*paths, Path(problem.path)) if problem.path else paths
        message = where.clean(problem.message, paths)
        if message != problem.message:
            problem.hint = "; ".join(filter(None, (where.clean(problem.hint, paths), HINT)))
        problem.message, problem.path = message, ""
    problem.args = tuple(where.clean(one, paths) if isinstance(one, str) else one for one in problem.args)


def hidden_load(load: Callable[[], Any], where: Hiding) -> Callable[[], Any]:
    """A record's ``load``, a partial over its files, whose errors hide their names."""
    if not isinstance(load, partial):
        return load
    return partial(_load, load.func, *load.args, where=where, more=load.keywords)


def loading(
    load: Callable[[], Any],
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], AbstractContextManager[None]]:
    """What a record's ``load`` calls, with what, and the block in which its errors hide the names of files."""
    if not isinstance(load, partial):
        return load, (), {}, nullcontext()
    if load.func is not _load:
        return load.func, load.args, load.keywords, nullcontext()
    function, *given = load.args
    where, more = load.keywords["where"], load.keywords["more"]
    return function, tuple(given), more, _hiding_files(where, given)


def _hiding_files(where: Hiding, given: Iterable[Any]) -> AbstractContextManager[None]:
    files = [getattr(one, "path", one) for group in given for one in (group if isinstance(group, tuple) else (group,))]
    return hiding(where, tuple(one for one in files if isinstance(one, Path)))


def _load(function: Callable[..., Any], *given: Any, where: Hiding, more: dict[str, Any]) -> Any:
    with _hiding_files(where, given):
        return function(*given, **more)
