"""As much of Snakemake as the Snakefile beside this asks for: its rules run where Snakemake is not installed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_RULE = re.compile(r"^rule (\w+):\n((?:    .+\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Rule:
    """One rule: the files it takes, the one it makes (empty for a bare target), and its shell line."""

    inputs: tuple[str, ...]
    output: str
    shell: str


def read_snakefile(path: Path, config: dict[str, str]) -> tuple[list[Rule], dict[str, Any]]:
    """The rules in their order, and the names that the file defines."""
    text = path.read_text()
    names: dict[str, Any] = {"config": config, "directory": lambda name: name, "expand": _expand}
    exec(_RULE.sub("", text), names)
    rules = []
    for _, body in _RULE.findall(text):
        entries = {key: eval(value, names) for key, value in _ENTRY.findall(body)}
        given = entries.get("input", ())
        inputs = (given,) if isinstance(given, str) else tuple(given)
        rules.append(Rule(inputs, entries.get("output", ""), entries.get("shell", "")))
    return rules, names


def _expand(pattern: str, shard: range) -> list[str]:
    return [pattern.format(shard=one) for one in shard]


def make(rules: list[Rule], names: dict[str, Any], folder: Path, run: Callable[[str], object]) -> None:
    """Make what the first rule asks for."""
    for target in rules[0].inputs:
        _make(target, rules, names, folder, run)


def _make(target: str, rules: list[Rule], names: dict[str, Any], folder: Path, run: Callable[[str], object]) -> None:
    if (folder / target).exists():
        return
    for rule in rules:
        pattern = re.escape(rule.output).replace(r"\{shard\}", r"(?P<shard>\d+)")
        found = re.fullmatch(pattern, target) if rule.output else None
        if found:
            for one in rule.inputs:
                _make(one, rules, names, folder, run)
            wildcards = SimpleNamespace(**found.groupdict())
            run(rule.shell.format(input=" ".join(rule.inputs), output=target, wildcards=wildcards, **_capitals(names)))
            assert (folder / target).exists()
            return
    raise AssertionError(f"no rule makes {target}")


def _capitals(names: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in names.items() if name.isupper()}
