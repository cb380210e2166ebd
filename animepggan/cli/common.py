"""What every verb shares: the console and the options that mean the same everywhere.

Only click is imported here, so that `--help` stays quick; torch and tqdm wait until a verb needs them.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TextIO, TypeVar

import click

from animepggan.cli import processor
from animepggan.corpus.names import escape

if TYPE_CHECKING:
    import torch
    from tqdm import tqdm

    from animepggan.bar import Bar

Command = TypeVar("Command", bound=Callable[..., Any])
Parameters = ParamSpec("Parameters")

COMMON_OPTIONS = ("--json", "--debug", "--quiet")
SECONDS_BETWEEN_LINES = 10.0  # where no bar is drawn: nothing is silent for longer
DEBUG = "animepggan.debug"  # key of `click.Context.meta` under which `main` finds whether `--debug` was given


class Verbs(click.Group):
    """A group whose commands are modules with a click command named `command`, imported only when they are called."""

    def __init__(self, *arguments: Any, load: Callable[[str], Any], verbs: dict[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options | {"subcommand_metavar": "VERB ..."})
        self.load = load  # name -> its module
        self.verbs = verbs  # name -> the line that stands for it in the help, in the help's order

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return self.load(name).command if name in self.verbs else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(self.verbs.items()))

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = arguments[0]
        if name not in self.verbs and not context.resilient_parsing:
            from difflib import get_close_matches

            near = "".join(f" Did you mean '{verb}'?" for verb in get_close_matches(name, self.verbs, n=1))
            raise click.UsageError(f"No such verb '{name}'.{near}", context)
        return super().resolve_command(context, arguments)


def spelled_out(text: str) -> str:
    """Lines for a terminal: `text` with its control characters escaped, so that no file name can steer it."""
    return "\n".join(map(escape, text.split("\n")))


def duration(seconds: float) -> str:
    """A time for people, in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.0f} days"


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
        """A bar for each thing that is being done, one after the other; where none is drawn, a line now and again."""
        shown: dict[str, tqdm[Any]] = {}
        told = began = 0.0

        def close() -> None:
            while shown:
                shown.popitem()[1].close()

        def show(what: str, done: int, total: int) -> None:
            nonlocal told, began
            now = time.monotonic()
            if what not in shown:
                close()
                shown[what] = self.bar(total, unit, what)
                told = began = now
            shown[what].update(done - shown[what].n)
            if shown[what].disable and now - told >= SECONDS_BETWEEN_LINES and done < total:
                told = now
                left = duration((now - began) / done * (total - done)) if done else "an unknown time"
                self.say(f"{what}: {done} of {total} {unit}s, about {left} left")
            if done >= total:
                close()

        try:
            yield show
        finally:
            close()


def _remember_debug(context: click.Context, _: click.Parameter, debug: bool) -> bool:
    context.meta[DEBUG] = debug
    return debug


def options(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Add click options, which stand in the help in this order."""

    def add(function: Command) -> Command:
        for decorate in reversed(decorators):
            function = decorate(function)
        return function

    return add


def common_options(function: Callable[Concatenate[Console, Parameters], None]) -> Callable[Parameters, None]:
    """Add `--json`, `--debug` and `--quiet`; the function gets a `Console` as its first argument.

    Stands nearest to the function, below the verb's own options, so that these come last in its help.
    """

    @functools.wraps(function)
    def with_console(*arguments: Any, as_json: bool, debug: bool, quiet: bool, **given: Any) -> None:
        if quiet:  # the hub's client draws bars of its own, and reads this when it is first imported
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        function(Console(json=as_json, quiet=quiet), *arguments, **given)

    # Eager, so that an error in the options after it shows its traceback too.
    debugging: Any = {"is_flag": True, "is_eager": True, "callback": _remember_debug}
    return options(
        click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON document."),
        click.option("--debug", help="Show the traceback of an error.", **debugging),
        click.option("--quiet", is_flag=True, help="Say nothing but warnings and errors."),
    )(with_console)  # type: ignore[return-value]  # click adds the options to the signature when it calls


class _Path(click.Path):
    """A path with `~` spelled out: a shell leaves it alone in `--output=~/x`."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        from animepggan.disk import expanded

        return expanded(os.fsdecode(super().convert(value, parameter, context)))


PATH = _Path(path_type=Path)


def output_option(default_text: str) -> Callable[[Command], Command]:
    """Add `-o/--output PATH`, passed as `output: Path | None`; `default_text` says in the help what None stands for."""
    text = f"Where the result goes.  [default: {default_text}]"
    return click.option("-o", "--output", metavar="PATH", type=PATH, help=text)


def _check_device(_: click.Context, __: click.Parameter, device: str) -> str:
    if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device) is None:
        raise click.BadParameter(f"{device!r} is none of auto, cpu, cuda, cuda:N, mps.")
    return device


DEVICE: Any = {"metavar": "NAME", "default": "auto", "callback": _check_device}
POSITIVE, NATURAL = click.IntRange(min=1), click.IntRange(min=0)
device_options = options(
    click.option("--device", help="auto (a GPU if there is one), cpu, cuda, cuda:N or mps.", **DEVICE),
    click.option("--threads", metavar="N", type=POSITIVE, help="CPU threads of one operation.  [default: all cores]"),
)
"""Adds `--device` (passed as `device: str`, for `resolve_device`) and `--threads` (`threads: int | None`)."""


def resolve_device(name: str) -> torch.device:
    """The device that `--device` means here; a usage error when this machine or this torch has none such."""
    from animepggan.device import device_of
    from animepggan.errors import RecipeError

    try:
        return device_of(name)
    except RecipeError as error:
        raise click.BadParameter(f"{error}.", param_hint="--device") from error


def apply_threads(threads: int | None) -> None:
    """Let torch use `threads` CPU threads for one operation; None leaves its own choice."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def check_device(console: Console, device: str, precision: str) -> None:
    """Refuse a device that is not there, and warn where bf16 would be slower than fp32, not faster."""
    if resolve_device(device).type == "cpu" and precision == "bf16" and not processor.has_bfloat16():
        console.warn("this processor has no bfloat16: --precision bf16 is emulated, several times slower than fp32")
