"""What a rule is given and returns, and how its name is resolved."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from lungct import registry
from lungct.game.saliency import Saliency
from lungct.game.target import Target

VERSIONS = ("repaired", "thesis")
NAN = float("nan")


@dataclass(frozen=True)
class Score:
    """One value with its chance level and ceiling.

    Attributes:
        value: what the map reached; NaN where there is none.
        chance: what a map that knows nothing reaches on average: the same values on pixels drawn at random.
        ceiling: what the best map there is reaches; below ``chance`` where less is better.
        reason: why there is no value.
    """

    value: float
    chance: float
    ceiling: float
    reason: str = ""

    @property
    def normalised(self) -> float:
        """(value - chance) / (ceiling - chance): 0 by chance, 1 at best; NaN where the nodule fills the image."""
        room = self.ceiling - self.chance
        return (self.value - self.chance) / room if abs(room) > 1e-12 else NAN


Rule: TypeAlias = Callable[[Saliency, Target], Score]


def none_because(reason: str) -> Score:
    """No value, for a reason."""
    return Score(NAN, NAN, NAN, reason)


def load_rules(names: Iterable[str], version: str = "repaired") -> dict[str, Rule]:
    """Name -> rule; a module lists its rules in ``RULES`` and, where they were published otherwise, in ``THESIS``."""
    found: dict[str, Rule] = {}
    for name in names:
        module = importlib.import_module(registry.EVERY_MEASURE[name].module)
        rules: Mapping[str, Rule] = module.THESIS if version == "thesis" else module.RULES
        found[name] = rules[name]
    return found
