"""The XML files of a folder tree, and what kind they are."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

LOOK_AT = 20_000
"""Directory entries that are looked at for a first XML file."""
LOOK_INTO = 5


def xml_files(folder: Path) -> list[Path]:
    """Every XML file below ``folder``, by path."""
    found = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    return sorted(one for one in found if _is_xml(one.name))


def first_xml_files(folder: Path) -> list[Path]:
    """A few XML files of the level nearest to ``folder``; cheap where there are very many other files."""
    return list(islice(_nearest(folder), LOOK_INTO))


def root_of(path: Path) -> str:
    """Name of an XML file's outermost element, without its namespace; empty where it is no XML."""
    try:
        with open(path, "rb") as stream:
            for _, element in ElementTree.iterparse(stream, ("start",)):
                return element_name(element)
    except (OSError, ElementTree.ParseError, ValueError, LookupError):
        pass
    return ""


def element_name(element: ElementTree.Element) -> str:
    """Its tag without the namespace."""
    return str(element.tag).rpartition("}")[2]


def _is_xml(name: str) -> bool:
    return name.lower().endswith(".xml") and not name.startswith(".")


def _nearest(folder: Path) -> Iterator[Path]:
    waiting, seen = deque([folder]), 0
    while waiting and seen < LOOK_AT:
        try:
            entries = sorted(os.scandir(waiting.popleft()), key=lambda one: one.name)
        except OSError:
            continue
        seen += len(entries)
        waiting += [Path(one.path) for one in entries if one.is_dir(follow_symlinks=False)]
        yield from (Path(one.path) for one in entries if _is_xml(one.name))
