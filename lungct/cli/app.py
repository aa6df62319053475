"""The ``lungct`` command: every verb on one screen."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Annotated, Any

import typer

from lungct import __version__
from lungct.cli.contract import run_app, subcommand

VERBS = (
    "demo",
    "phantom",
    "preprocess",
    "audit",
    "select-slices",
    "merge",
    "train",
    "predict",
    "evaluate",
    "compare",
    "ablate",
    "explain",
    "segmentation-game",
    "export",
    "report",
    "info",
)
"""In the order of the chain; each is a module of this package with ``-`` written ``_``."""

COMPLETE = "_LUNGCT_COMPLETE"
"""Set by the completion scripts: the shell that asks."""

HELP = "Chest CT from raw scans to lung-nodule detections that are explained, and measures of both."
EPILOG = (
    "Each command prints on stdout only the path of what it wrote; '-' as an input reads that path. "
    "An option may also come from the environment (LUNGCT_TRAIN_LR=1e-3) or from --config FILE.toml "
    "([train] lr = 1e-3)."
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lungct {__version__}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Hold the options of the program itself."""


def build() -> typer.Typer:
    """The whole app."""
    app = typer.Typer(
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LUNGCT"},
    )
    app.callback()(_main)
    for verb in VERBS:
        module = verb_module(verb)
        app.command(verb, help=_help_of(module))(subcommand(verb, module.run))
    return app


def command() -> Any:
    """The app as a command to run; what the environment can set is said once, in the epilog, not at each option."""
    if COMPLETE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]

        completion_init()
    group: Any = typer.main.get_command(build())
    for one in (group, *group.commands.values()):
        for parameter in one.params:
            parameter.show_envvar = False
    return group


def verb_module(verb: str) -> Any:
    """The module of a verb."""
    return importlib.import_module(f"lungct.cli.{verb.replace('-', '_')}")


def _help_of(module: Any) -> str:
    return str(module.__doc__).strip()


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run_app(command()))
