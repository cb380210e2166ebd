"""What every verb shares: the console and the options that mean the same everywhere.

Only click is imported here, so that `--help` stays quick; torch and tqdm wait until a verb needs them.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TextIO, TypeVar

import click

from animepggan.corpus.names import escape

if TYPE_CHECKING:
    import torch
    from tqdm import tqdm

    from animepggan.bar import Bar

Command = TypeVar("Command", bound=Callable[..., Any])
Parameters = ParamSpec("Parameters")

COMMON_OPTIONS = ("--json", "--debug", "--quiet")
DEBUG = "animepggan.debug"
"""Key of `click.Context.meta` under which `main` finds whether `--debug` was given."""
NO_BACKBONE = "none"
"""What `--backbone` takes for measuring or looking without one."""


def spelled_out(text: str) -> str:
    """Lines for a terminal: `text` with its control characters escaped, so that no file name can steer it."""
    return "\n".join(map(escape, text.split("\n")))


def mute(stream: TextIO | None) -> None:
    """Let `stream` write to nowhere from now on: its reader has left, and what it still holds must go somewhere."""
    with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:  # ValueError: closed already
        if stream is not None:
            os.dup2(nowhere.fileno(), stream.fileno())


def complain(text: str) -> None:
    """One message on stderr, above a progress bar if one is drawn there; a stderr that nobody reads stops nothing."""
    if sys.stderr is None:
        return
    text = spelled_out(text)
    try:
        if (tqdm := sys.modules.get("tqdm")) is not None:
            tqdm.tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)
    except OSError:
        mute(sys.stderr)


@dataclass(frozen=True)
class Console:
    """Where a verb speaks: the result on stdout, all the rest on stderr."""

    json: bool = False
    quiet: bool = False
    debug: bool = False

    def result(self, text: str, data: object) -> None:
        """Print what the verb was asked for, once: `text`, or with `--json` the JSON of `data`.

        `data` is made of dicts, lists, strings, finite numbers, booleans, None and paths. No `text`: no line.
        """
        if self.json:
            import json

            text = json.dumps(data, indent=2, allow_nan=False, default=os.fspath)
        elif sys.stdout is not None and sys.stdout.isatty():
            text = spelled_out(text)
        if not text:
            return
        try:
            print(text, flush=True)
        except BrokenPipeError:  # the reader has seen enough; the work is done all the same
            mute(sys.stdout)

    def say(self, text: str) -> None:
        """Tell what goes on, unless `--quiet`."""
        if not self.quiet:
            complain(text)

    def warn(self, text: str) -> None:
        """Tell what the user should know even with `--quiet`."""
        complain(f"warning: {text}")

    def bar(self, total: int, unit: str, description: str) -> tqdm[Any]:
        """A progress bar over `total` `unit`s; drawn only where stderr is a terminal, and not with `--quiet`."""
        from tqdm import tqdm

        hidden = self.quiet or sys.stderr is None or not sys.stderr.isatty()
        return tqdm(total=total, unit=unit, desc=description, disable=hidden, dynamic_ncols=True, file=sys.stderr)

    @contextmanager
    def bars(self, unit: str = "picture") -> Iterator[Bar]:
        """A bar for each thing that is being done, one after the other."""
        shown: dict[str, tqdm[Any]] = {}

        def close() -> None:
            while shown:
                shown.popitem()[1].close()

        def show(what: str, done: int, total: int) -> None:
            if what not in shown:
                close()
                shown[what] = self.bar(total, unit, what)
            shown[what].update(done - shown[what].n)
            if done >= total:
                close()

        try:
            yield show
        finally:
            close()


def _remember_debug(context: click.Context, _: click.Parameter, debug: bool) -> bool:
    context.meta[DEBUG] = debug
    return debug


def common_options(function: Callable[Concatenate[Console, Parameters], None]) -> Callable[Parameters, None]:
    """Add `--json`, `--debug` and `--quiet`; the function gets a `Console` as its first argument.

    Stands nearest to the function, below the verb's own options, so that these come last in its help.
    """

    @functools.wraps(function)
    def with_console(*arguments: Any, as_json: bool, debug: bool, quiet: bool, **options: Any) -> None:
        if quiet:  # the hub's client draws bars of its own, and reads this when it is first imported
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        function(Console(json=as_json, quiet=quiet, debug=debug), *arguments, **options)

    decorated: Any = with_console
    for decorate in (
        click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors."),
        click.option(
            "--debug",
            is_flag=True,
            is_eager=True,  # an error in the options after it shows its traceback too
            callback=_remember_debug,
            help="Show the traceback of an error.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document."),
    ):
        decorated = decorate(decorated)
    return decorated  # type: ignore[no-any-return]  # click adds the options to the signature when it calls


def output_option(default_text: str) -> Callable[[Command], Command]:
    """Add `-o/--output PATH`, passed as `output: Path | None`; `default_text` says in the help what None stands for."""
    return click.option(
        "-o",
        "--output",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help=f"Where the result goes.  [default: {default_text}]",
    )


def _check_device(_: click.Context, __: click.Parameter, device: str) -> str:
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device) is None:
        raise click.BadParameter(f"{device!r} is none of auto, cpu, cuda, cuda:N, mps.")
    return device


def device_options(function: Command) -> Command:
    """Add `--device` (passed as `device: str`, for `resolve_device`) and `--threads` (`threads: int | None`)."""
    with_threads = click.option(
        "--threads",
        metavar="N",
        type=click.IntRange(min=1),
        help="CPU threads of one operation.  [default: all cores]",
    )(function)
    return click.option(
        "--device",
        metavar="NAME",
        default="auto",
        show_default=True,
        callback=_check_device,
        help="auto (a GPU if there is one), cpu, cuda, cuda:N or mps.",
    )(with_threads)


def resolve_device(name: str) -> torch.device:
    """The device that `--device` means here; a usage error when this machine or this torch has none such."""
    from animepggan.device import device_of
    from animepggan.errors import RecipeError

    try:
        return device_of(name)
    except RecipeError as error:
        raise click.BadParameter(f"{error}.", param_hint="--device") from error


def make_folder(folder: Path) -> Path:
    """`folder`, made where it is not there; BadParameter for --output where it is a file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise click.BadParameter(f"{folder} is a file; name a folder.", param_hint="--output") from error
    return folder


def apply_threads(threads: int | None) -> None:
    """Let torch use `threads` CPU threads for one operation; None leaves its own choice."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
