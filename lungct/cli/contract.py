"""The one shape of every subcommand: common options in, result or error out, the right exit code."""

from __future__ import annotations

import errno
import functools
import inspect
import logging
import os
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lungct.cli import streams
from lungct.cli.config import options_from_toml
from lungct.cli.options import EXECUTION, OUTPUT, refuse_output_over_input
from lungct.cli.result import Result, envelope, failure_envelope
from lungct.errors import EnvironmentError_, InputError, LungctError

BUG = 1
USAGE = 2
INTERRUPTED = 130
_MACHINE_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENOMEM)


def _load_config(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None and context.parent is not None:
        parameters = {str(one.name) for one in context.command.params}
        commands = context.parent.command.commands  # type: ignore[attr-defined]
        found = options_from_toml(path, str(context.info_name), parameters, commands)
        context.default_map = {**(context.default_map or {}), **found}
    return path


_COMMON: dict[str, tuple[Any, Any]] = {
    "config": (
        Annotated[
            Path | None,
            typer.Option(
                "--config",
                help="TOML file with options of this command in a table of its name.",
                metavar="FILE.toml",
                is_eager=True,
                callback=_load_config,
                rich_help_panel=EXECUTION,
            ),
        ],
        None,
    ),
    "json": (
        Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.", rich_help_panel=OUTPUT)],
        False,
    ),
    "quiet": (
        Annotated[bool, typer.Option("-q", "--quiet", help="Errors only on stderr.", rich_help_panel=OUTPUT)],
        False,
    ),
    "verbose": (
        Annotated[
            int,
            typer.Option("-v", "--verbose", count=True, help="More on stderr; twice for more.", rich_help_panel=OUTPUT),
        ],
        0,
    ),
    "debug": (
        Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.", rich_help_panel=OUTPUT)],
        False,
    ),
}


def subcommand(name: str, run: Callable[..., Result]) -> Callable[..., None]:
    """Wrap a module's ``run`` with the common options and the rendering of its result and errors."""
    hints = typing.get_type_hints(run, include_extras=True)
    paths = [key for key in inspect.signature(run).parameters if _is_path_argument(hints[key])]

    @functools.wraps(run)
    def wrapped(*, json: bool, quiet: bool, verbose: int, debug: bool, config: Path | None, **options: Any) -> None:
        streams.configure(quiet=quiet, verbose=verbose)
        try:
            refuse_output_over_input([options[key] for key in paths])
            result = run(**options)
        except Exception as problem:
            raise typer.Exit(report_failure(name, problem, as_json=json, debug=debug)) from None
        _emit(name, result, as_json=json)
        if result.exit_code:
            raise typer.Exit(result.exit_code)

    parameters = [
        one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for one in inspect.signature(run).parameters.values()
    ]
    parameters += [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for key, (annotation, default) in _COMMON.items()
    ]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapped


def _is_path_argument(hint: Any) -> bool:
    """Whether a parameter is one path without a flag; where it is a list of them, the output has a flag."""
    kinds = {type(one).__name__ for one in getattr(hint, "__metadata__", ())}
    return "ArgumentInfo" in kinds and hint.__origin__ in (Path, Path | None)


def _emit(name: str, result: Result, *, as_json: bool) -> None:
    if result.silent:
        return
    for table in result.tables:
        streams.show_table(table)
    for line in result.failed:
        streams.logger.error("left out: %s", line)
    if result.refused:
        streams.logger.error("%s", result.refused)
    if as_json:
        print(envelope(name, result), flush=True)  # noqa: T201
    elif result.text:
        print(result.text, flush=True)  # noqa: T201
    elif result.output is not None:
        print(result.output, flush=True)  # noqa: T201


def report_failure(name: str, problem: Exception, *, as_json: bool, debug: bool) -> int:
    """Say in one line what went wrong (stderr, and stdout with --json); returns the exit code."""
    if not isinstance(problem, LungctError) and hasattr(problem, "format_message"):
        raise problem  # a usage error of the command line itself: the app prints it
    if debug:
        traceback.print_exception(problem, file=sys.stderr)
    known = _as_known(problem)
    code = known.exit_code if known else BUG
    message = str(known) if known else _bug_line(problem)
    print(f"lungct {name}: {message}", file=sys.stderr)  # noqa: T201
    if as_json:
        print(failure_envelope(name, known, message, code))  # noqa: T201
    return code


def _as_known(problem: Exception) -> LungctError | None:
    """The error itself, or for a fault of the file system or of memory the kind of ours that it amounts to."""
    if isinstance(problem, LungctError):
        return problem
    of_torch = type(problem).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(problem)
    if isinstance(problem, MemoryError) or of_torch:
        return EnvironmentError_("out of memory", "lower --batch, --workers or the size of the input")
    if isinstance(problem, OSError) and problem.strerror:
        where = f"{problem.filename}: " if problem.filename else ""
        kind = EnvironmentError_ if problem.errno in _MACHINE_FAULTS else InputError
        return kind(f"{where}{problem.strerror}")
    return None


def _bug_line(problem: Exception) -> str:
    text = " ".join(str(problem).split())[:300]
    return f"this is a bug ({type(problem).__name__}: {text}); --debug shows where"


def run_app(command: Any, arguments: list[str] | None = None) -> int:
    """Run the whole command line and return its exit code; usage errors and interrupts end here."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = command.main(args=arguments, prog_name="lungct", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Exit as leave:
        return _interrupted() if leave.exit_code == INTERRUPTED else int(leave.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except LungctError as problem:
        return report_failure(_named(arguments), problem, as_json="--json" in arguments, debug="--debug" in arguments)
    except Exception as problem:
        if not hasattr(problem, "format_message"):
            raise
        return _usage_error(problem, arguments)
    finally:
        logging.shutdown()


def _interrupted() -> int:
    line = "interrupted; nothing stands under the output's name, and --resume, where there is one, goes on"
    print(f"lungct: {line}", file=sys.stderr)  # noqa: T201
    return INTERRUPTED


def _named(arguments: list[str]) -> str:
    return next((one for one in arguments if not one.startswith("-")), "")


def _usage_error(problem: Any, arguments: list[str]) -> int:
    name = _named(arguments)
    message = " ".join(str(problem.format_message()).split()).rstrip(".")
    verb = name if getattr(problem, "ctx", None) and problem.ctx.parent else ""
    print(f"lungct {name}: {message}; see 'lungct {verb} --help'".replace("  ", " "), file=sys.stderr)  # noqa: T201
    if "--json" in arguments:
        print(failure_envelope(name, None, message, USAGE))  # noqa: T201
    return USAGE
