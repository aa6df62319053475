"""What an explanation run may be told, and what of it makes no sense together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lungct import registry
from lungct.errors import UsageError
from lungct.explain.base import MethodOptions
from lungct.explain.choose import DETECTED, MISSED
from lungct.explain.goals import check_options
from lungct.explain.scan_maps import ScanMapOptions
from lungct.explain.targets import AUTO
from lungct.preprocessing.shard import WHOLE, Shard


@dataclass(frozen=True)
class ExplainOptions:
    """What is explained, and how.

    Attributes:
        methods: names of the registry, in the order they are run.
        top, score_threshold: at most so many detections per image, of at least this score.
        max_images: at most so many images, in turn from every patient, spread over each one's slices; None all.
        image_ids: only these images; empty all.
        level: pyramid level read, ``auto`` for the one each detection comes from.
        scorer: how a perturbed detection is scored: ``roi``, ``match``, or ``auto`` for each method's own.
        target: what of a detection is explained, a name of ``registry.TARGETS``.
        amp: number format of the perturbed passes. Detection runs as ``lungct predict`` does by default.
        override: take slices whose spacing or HU range differs from the training's.
        detections: COCO results to explain in place of the model's own.
        outcomes: of ``registry.OUTCOMES``: detections that are right or wrong, and true boxes that were missed.
        numbers: only the detections of these numbers in their image, 0 the best; empty all.
        per: a map for each detection, or one for all of a class or of an image.
        channels: also tell what each slice of the stack brings to each score.
        pictures: draw an overlay per map, and a contact sheet per patient.
        volumes: NIfTI volumes per scan; None writes none.
        keep_going: leave out images that cannot be explained.
        shard: which of the patients' images.
    """

    methods: Sequence[str] = (registry.DEFAULT_METHOD,)
    top: int = 5
    score_threshold: float = 0.3
    max_images: int | None = None
    image_ids: Sequence[str] = ()
    level: str = AUTO
    scorer: str = AUTO
    target: str = "score"
    amp: str = "off"
    override: bool = False
    detections: Path | None = None
    outcomes: Sequence[str] = DETECTED
    numbers: Sequence[int] = ()
    per: str = "detection"
    channels: bool = False
    pictures: bool = True
    volumes: ScanMapOptions | None = None
    keep_going: bool = False
    shard: Shard = WHOLE
    device: str = "auto"
    threads: int = 0
    method: MethodOptions = field(default_factory=MethodOptions)

    def nobody(self) -> str:
        """What was looked for, where nothing was found."""
        by = f"of score {self.score_threshold:g} or more"
        wanted = [one for one in DETECTED if one in self.outcomes]
        said = []
        if wanted:
            numbered = f" and --number {' or '.join(map(str, self.numbers))}" if self.numbers else ""
            outcome = {"tp": " lies on a true box", "fp": " is false", "tp fp": ""}[" ".join(wanted)]
            said.append(f"no detection {by}{numbered}{outcome}")
        if MISSED in self.outcomes:
            said.append("no true box was missed" + ("" if wanted else f" by detections {by}"))
        return ", and ".join(said)


def check(options: ExplainOptions) -> None:
    """Refuse what makes no sense together, and what would do nothing, before anything is read.

    Raises:
        UsageError: which option, and what to do instead.
    """
    check_options(options.methods, options.scorer, options.target)
    if options.channels and options.per != "detection":
        raise UsageError(f"--explain-channels tells of each detection, and --per {options.per} brings them together")
    if options.numbers and tuple(options.outcomes) == (MISSED,):
        raise UsageError("--number counts detections, and --which fn alone explains none: add --which tp or fp")
    for name, flag in _asked(options):
        readers = [method for method, entry in registry.METHODS.items() if name in entry.reads]
        if (options.channels and name in CHANNELS_READ) or set(readers) & set(options.methods):
            continue
        raise UsageError(
            f"{flag} changes nothing of {', '.join(options.methods)}: leave it out, or add --method "
            f"{' or '.join(readers)}"
        )


CHANNELS_READ = ("scorer", "target", "amp", "baseline")
"""What ``--explain-channels`` reads, too."""


def _asked(options: ExplainOptions) -> Iterator[tuple[str, str]]:
    """Name and flag of every option that only some methods read and that is not as it is unless told."""
    plain = ExplainOptions()
    for name in ("level", "scorer", "target", "amp"):
        if getattr(options, name) != getattr(plain, name):
            yield name, f"--{name} {getattr(options, name)}"
    for name in ("weights", "baseline", "preset", "samples", "masks", "patch_mm", "stride_mm", "centred"):
        value = getattr(options.method, name)
        if value != getattr(plain.method, name):
            yield name, f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
    if options.method.approximate:
        yield options.method.approximate, f"--approximate {options.method.approximate}"
