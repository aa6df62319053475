"""Write the man pages, the shell completions and the help texts in the README from the app; ``--check`` compares.

Run as ``python -m lungct.cli.docs [--check]`` in a checkout.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import typer

from lungct import __version__
from lungct.cli import app as application

ROOT = Path(__file__).resolve().parents[2]
HELP_BLOCK = re.compile(r"(<!-- help:([\w-]*) -->\n```text\n).*?(```\n<!-- end -->)", re.DOTALL)
RELEASED = "2026-11-21"
EXITS = (
    ("0", "done"),
    ("1", "a bug of lungct"),
    ("2", "wrong usage"),
    ("3", "bad input; the line says which file and what was expected"),
    ("4", "an extra, weights or a device is missing; the line says how to get it"),
    ("5", "done, but some cases failed under --keep-going"),
    ("6", "the output exists"),
)


def main(arguments: list[str] | None = None) -> int:
    """Write or check every generated file; returns 1 when a check finds one out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is out of date")
    wanted = generated_files()
    if not parser.parse_args(arguments).check:
        for path, text in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        return 0
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    stray = [path for path in (ROOT / "man").glob("*") if path not in wanted]
    for path in (*stale, *stray):
        print(f"{path.relative_to(ROOT)} is out of date: run python -m lungct.cli.docs", file=sys.stderr)  # noqa: T201
    return 1 if stale or stray else 0


def generated_files() -> dict[Path, str]:
    """Path -> text of every file that is made from the app."""
    group = application.command()
    files = {ROOT / "man" / "lungct.1": _program_page(group)}
    for verb in application.VERBS:
        files[ROOT / "man" / f"lungct-{verb}.1"] = _verb_page(verb, group.commands[verb])
    files |= {ROOT / "completions" / name: _completion(shell) for shell, name in _COMPLETION_FILES.items()}
    readme = ROOT / "README.md"
    files[readme] = HELP_BLOCK.sub(lambda match: _with_help(match, group), readme.read_text("utf-8"))
    return files


_COMPLETION_FILES = {"bash": "lungct.bash", "zsh": "_lungct", "fish": "lungct.fish"}


def _completion(shell: str) -> str:
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    script: str = get_completion_script(prog_name="lungct", complete_var=application.COMPLETE, shell=shell)
    return script.strip() + "\n"  # zsh's autoload looks for #compdef on the very first line


def _with_help(match: re.Match[str], group: Any) -> str:
    return match[1] + help_text(group, match[2]) + match[3]


def help_text(group: Any, verb: str = "") -> str:
    """What ``lungct [VERB] --help`` prints on a terminal of 100 columns, without rich's boxes."""
    parent = typer.Context(group, info_name="lungct", max_content_width=100, terminal_width=100)
    if not verb:
        return str(group.get_help(parent)).rstrip() + "\n"
    context = typer.Context(group.commands[verb], info_name=verb, parent=parent, terminal_width=100)
    return str(group.commands[verb].get_help(context)).rstrip() + "\n"


def _program_page(group: Any) -> str:
    lines = [
        _header("LUNGCT"),
        ".SH NAME",
        _roff("lungct - " + application.HELP.rstrip(".")),
        ".SH SYNOPSIS",
    ]
    lines += [".B lungct", r".I COMMAND", r".RI [ OPTIONS ] ...", ".SH DESCRIPTION", _roff(application.EPILOG)]
    lines.append(".SH COMMANDS")
    for verb in application.VERBS:
        lines += [".TP", rf".BR lungct\-{_roff(verb)} (1)", _roff(first_sentence(group.commands[verb].help))]
    lines += [*_exits(), ".SH SEE ALSO"]
    lines.append(",\n".join(rf".BR lungct\-{_roff(verb)} (1)" for verb in application.VERBS).replace("(1),", "(1) ,"))
    return "\n".join(lines) + "\n"


def _verb_page(verb: str, command: Any) -> str:
    name = f"lungct-{verb}"
    body, _, example = command.help.partition("Example:")
    lines = [_header(name.upper()), ".SH NAME", _roff(f"{name} - {first_sentence(body).rstrip('.')}")]
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    lines += [".SH SYNOPSIS", rf".B lungct {_roff(verb)}", ".RI [ OPTIONS ]"]
    lines += [rf".RI [ {one.name.upper()} ]" if not one.required else rf".I {one.name.upper()}" for one in arguments]
    lines += [".SH DESCRIPTION", *_paragraphs(body)]
    if arguments:
        lines.append(".SH ARGUMENTS")
        for one in arguments:
            lines += [".TP", rf".I {one.name.upper()}", _described(one)]
    lines.append(".SH OPTIONS")
    for one in command.params:
        if one.param_type_name == "option":
            flags = ", ".join((*one.opts, *one.secondary_opts))
            lines += [".TP", rf".B {_roff(flags)}", _described(one)]
    lines += [*_exits(), ".SH EXAMPLES", ".nf", *(_roff(line.strip()) for line in example.strip().splitlines()), ".fi"]
    lines += [".SH SEE ALSO", ".BR lungct (1)"]
    return "\n".join(lines) + "\n"


def _header(title: str) -> str:
    return f'.TH "{_roff(title)}" 1 "{RELEASED}" "lungct {__version__}" "lungct manual"'


def _described(parameter: Any) -> str:
    text = " ".join(str(parameter.help or "").split())
    default = parameter.default
    if default is not None and not callable(default) and default is not False and str(default) not in ("", "()", "[]"):
        text += f" Default: {default}."
    return _roff(text)


def _exits() -> list[str]:
    lines = [".SH EXIT STATUS"]
    for code, meaning in EXITS:
        lines += [".TP", f".B {code}", _roff(meaning)]
    return lines


def _paragraphs(text: str) -> list[str]:
    blocks = [" ".join(block.split()) for block in text.strip().split("\n\n")]
    return [line for number, block in enumerate(blocks) for line in ([".PP"] if number else []) + [_roff(block)]]


def first_sentence(text: str) -> str:
    """The first paragraph of a help text, which is one sentence."""
    return " ".join(text.strip().split("\n\n")[0].split())


def _roff(text: str) -> str:
    """Escaped and wrapped to lines that man page checkers accept; no line starts with a control character."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    lines = textwrap.wrap(text, 78, break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join(r"\&" + line if line[0:1] in (".", "'") else line for line in lines)


if __name__ == "__main__":
    sys.exit(main())
