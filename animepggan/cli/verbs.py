"""A group of commands that are modules, imported only when called: `--help` of the group imports none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class Verbs(click.Group):
    """A group whose commands are the modules of a package, each with a click command named `command`."""

    def __init__(
        self,
        *arguments: Any,
        load: Callable[[str], Any],  # name -> its module
        verbs: dict[str, str],  # name -> the line that stands for it in the help, in the help's order
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self.load = load
        self.verbs = verbs

    def list_commands(self, context: click.Context) -> list[str]:
        """All verbs, in the order of the help."""
        return list(self.verbs)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command of one verb, from its module."""
        if name not in self.verbs:
            return None
        command = self.load(name).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(self.verbs.items()))

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or name the nearest one."""
        name = arguments[0]
        if name not in self.verbs and not context.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(name, self.verbs, n=1)
            raise click.UsageError(
                f"No such verb '{name}'." + "".join(f" Did you mean '{verb}'?" for verb in near), context
            )
        return super().resolve_command(context, arguments)
