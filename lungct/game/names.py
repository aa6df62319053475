"""Which image of the truth a file of maps or a mask is of, by its name; a name that could be of two is refused."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lungct.errors import InputError
from lungct.explain.index import stem_of
from lungct.io.coco import CocoImage, CocoTruth

_WAY_OUT = "give the images a lungct.image_id that nothing else is called and name the files by it"


def names_of(image: CocoImage) -> Mapping[str, str]:
    """What a file of the image may be called, without its suffix -> why; its id first, its picture last."""
    names = {stem_of(image.id): "the id", str(image.id): "the id"}
    own = image.lungct.get("image_id")
    if own is not None:
        names = names | {name: "the lungct.image_id" for name in (stem_of(own), str(own)) if name not in names}
    stem = Path(image.file_name).stem
    return names if stem in names else {**names, stem: "the file name"}


@dataclass(frozen=True, eq=False)
class Names:
    """The names of a truth's images."""

    truth: CocoTruth

    @cached_property
    def _called(self) -> Mapping[str, Sequence[CocoImage]]:
        found: dict[str, list[CocoImage]] = defaultdict(list)
        for image in self.truth.images:
            for name in names_of(image):
                found[name].append(image)
        return found

    def image_of(self, name: str, path: Path) -> CocoImage | None:
        """The image that a file of this name is of, None if of none.

        Raises:
            InputError: of two; ``path`` is what the error names.
        """
        found = self._called.get(name, ())
        if len(found) > 1:
            said = " and ".join(f"{names_of(one)[name]} of image {one.id!r}" for one in found[:2])
            raise InputError.of(path, f"{name} is {said}", _WAY_OUT)
        return found[0] if found else None

    def image_said(self, image_id: int | str, path: Path) -> CocoImage | None:
        """The image that an NPZ says it is of: the one with that id, or else the one called so.

        Raises:
            InputError: none has that id, and two are called so.
        """
        return self._of_id.get(str(image_id)) or self.image_of(str(image_id), path)

    def box_of(self, path: Path) -> tuple[int | str, int] | None:
        """Image id and number of the box of a picture, -1 for all boxes of the image; None if it is of no image.

        Raises:
            InputError: it could be of two images.
        """
        whole = self.image_of(path.stem, path)
        stem, _, number = path.stem.rpartition("_")
        part = self.image_of(stem, path) if number.isdecimal() and str(int(number)) == number else None
        if whole is not None and part is not None and whole is not part:
            raise InputError.of(
                path, f"may be of image {whole.id!r}, or of box {number} of image {part.id!r}", _WAY_OUT
            )
        if whole is not None:
            return whole.id, -1
        return None if part is None else (part.id, int(number))

    @cached_property
    def _of_id(self) -> Mapping[str, CocoImage]:
        return {str(image.id): image for image in self.truth.images}

    @property
    def example(self) -> str:
        """A name that a file could have, an id where one will do, for a hint."""
        ids = [stem_of(image.id) for image in self.truth.images]
        name = next((one for one in (*ids, *self._called) if len(self._called[one]) == 1), None)
        return "" if name is None else f"a name that would do: {name}"
