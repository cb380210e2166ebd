"""The command line: finds the verb, runs it, and turns whatever goes wrong into a message and an exit code.

A verb is `cli/<verb>.py` with a click command named `command`, imported only when it is called: the list of
verbs below is all that `animepggan --help` needs. Only this package prints, asks or exits.
"""

from __future__ import annotations

import importlib
import io
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

import click
from click.exceptions import Exit, NoArgsIsHelpError

from animepggan import __version__
from animepggan.cli.common import COMMON_OPTIONS, DEBUG, Verbs, complain, mute
from animepggan.disk import cache_folder, has_home
from animepggan.errors import BUG, AnimepgganError, Interrupted, resource_error

VERBS = {
    "start": "From screenshots and videos of her to a model that draws her.",
    "pretrain": "Grow a base model from a corpus.",
    "finetune": "Train a base model further on one character.",
    "sample": "Draw pictures.",
    "interpolate": "Draw a film, from face to face or model to model.",
    "evaluate": "Measure how good a model's pictures are.",
    "data": "Make and look after pictures to train on.",
    "recipes": "List, show, copy and check recipes.",
    "doctor": "Tell what this machine has, for a bug report.",
}
"""The verbs in the order of the help, with the line that stands for each."""

INTERRUPTED = 130
USAGE = 2


@click.group(
    cls=Verbs,
    load=lambda name: importlib.import_module(f"{__name__}.{name}"),
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
    epilog="`animepggan VERB --help` tells more about one verb.",
)
@click.version_option(__version__, message="animepggan %(version)s")
def verbs() -> None:
    """Draw your favourite character with a progressively grown GAN."""


class Warnings(logging.Handler):
    """Says the library's warnings as those of a verb."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(f"warning: {record.getMessage()}")


WARNINGS = Warnings(logging.WARNING)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `arguments` (the process's own by default) and return the exit code.

    Codes: those of `animepggan.errors`, 2 for usage, 130 when interrupted outside a run, 70 for a bug of ours.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a file name that is not text comes out as it is, or spelled out
        utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
    if not has_home():  # else the hub's client, which also timm imports, would make a folder named ~
        os.environ.setdefault("HF_HOME", str(cache_folder() / "huggingface"))
    log = logging.getLogger("animepggan")
    log.addHandler(WARNINGS)
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:  # the second one, while the first or an error was being reported
        code = INTERRUPTED
    finally:
        log.removeHandler(WARNINGS)
    try:
        print(end="", flush=True)
    except BrokenPipeError:
        mute(sys.stdout)
    except OSError as error:
        mute(sys.stdout)
        code = code or _report(error, debug=False)
    return code


def _run(arguments: list[str]) -> int:
    if "_ANIMEPGGAN_COMPLETE" in os.environ:  # a shell asks for completions: click's own protocol
        verbs.main(arguments, prog_name="animepggan")
    context: click.Context | None = None
    try:
        with verbs.make_context("animepggan", arguments) as context:
            verbs.invoke(context)
    except Exit as stop:
        return stop.exit_code
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads_stdout():  # `animepggan --help | head -1`
            return 0
        if isinstance(error, click.UsageError) and error.ctx is None:
            error.ctx = context  # click leaves it out for an option without its value
        return _report(error, debug=context is not None and bool(context.meta.get(DEBUG)))
    return 0


def _nobody_reads_stdout() -> bool:
    import select

    with suppress(OSError, ValueError, AttributeError):  # closed, no file of the system, None, or a system without poll
        probe = select.poll()
        probe.register(sys.stdout.fileno(), 0)
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in probe.poll(0))
    return False


def _report(error: BaseException, *, debug: bool) -> int:
    """Print `error` in one to three lines on stderr, after its traceback if `debug`; return the exit code."""
    if isinstance(error, NoArgsIsHelpError):
        complain(error.format_message())
        return USAGE
    if debug:
        complain(_traceback(error))
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        complain("interrupted")
        return INTERRUPTED
    if isinstance(error, Interrupted):  # asked for, saved, and it says so itself
        complain(str(error))
        return error.exit_code
    if isinstance(error, click.ClickException):
        complain(f"error: {_usage_message(error)}")
        return USAGE
    ours = error if isinstance(error, AnimepgganError) else resource_error(error)
    if ours is not None:
        complain(f"error: {ours}")
        return ours.exit_code
    summary = (str(error).strip() or "no message").splitlines()[0][:200]
    complain(f"error: this is a bug in animepggan: {type(error).__name__}: {summary}")
    if not debug:
        complain(_save_traceback(error))
    complain("please report it with the traceback, the command you typed and `animepggan --version`")
    return BUG


def _usage_message(error: click.ClickException) -> str:
    """What click has to say with the nearest name, in one line, and a second one that points to the help."""
    message = " ".join(error.format_message().split())
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return message
    path = error.ctx.command_path
    option = getattr(error, "option_name", None)
    if option in COMMON_OPTIONS and isinstance(error.ctx.command, click.Group):
        return f"{option} goes after the verb: `{path} VERB {option}`"
    if near := getattr(error, "possibilities", None):  # best first
        message = f"{error.message} Did you mean '{near[0]}'?"
    return f"{message}\nsee `{path} --help`"


def _save_traceback(error: BaseException) -> str:
    """Write the traceback to a new file in the temporary folder; the line that names it, or the traceback itself."""
    import platform
    import tempfile

    lines = _traceback(error)
    text = f"animepggan {__version__}, Python {platform.python_version()}, {platform.platform()}\n"
    text += f"arguments: {sys.argv[1:]}\n\n{lines}\n"
    try:
        with tempfile.NamedTemporaryFile(prefix="animepggan-bug-", suffix=".txt", delete=False) as file:
            file.write(text.encode("utf-8", errors="backslashreplace"))
    except OSError:
        return lines
    return f"its traceback is in {file.name} (`--debug` shows it here)"


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(error)).rstrip()
