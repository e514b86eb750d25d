"""The command `dealmail`: every sub-command lives in its own module and is loaded only when it is called."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from .context import add_common_options, one_line

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("demo:demo", "See the whole job at work on sample mailboxes, or on your own mail."),
    "crm": ("crm:crm", "Bring in the team's accounts, contacts, leads, opportunities and blocklists."),
    "connect": ("connecting:connect", "Sign a mailbox in at Google, or by domain-wide delegation."),
    "import": ("connecting:import_", "Turn the import of a mailbox on or off."),
    "status": ("status:status", "How each mailbox is doing, and what to do about it."),
    "mailboxes": ("looking:mailboxes", "List the mailboxes with their counts."),
    "decisions": ("looking:decisions", "List every message that was looked at, and what became of it."),
    "engagements": ("looking:engagements", "List the stored mail, by deal, account or person."),
    "explain": ("looking:explain", "Say in words why a message is there, or is not."),
    "search": ("searching:search", "Find stored mail by its words."),
    "preview": ("preview:preview", "Say what would be imported, without storing anything."),
    "audit": ("audit:audit", "Compare Gmail with the ledger, and fetch what is missing."),
    "retry": ("connecting:retry", "Try parked messages once more."),
    "erase": ("erase:erase", "Remove a person's, domain's or mailbox's mail for good."),
    "index": ("searching:index", "Compare, mend or rebuild the search index."),
    "rules": ("rules:rules", "Show the rules, and what another rule set would change."),
    "settings": ("team_settings:team_settings", "Show and change what the team decides: retention, opt-outs, rules."),
    "db": ("upkeep:db", "Make, upgrade or scrub the database's tables."),
    "keys": ("upkeep:keys", "Encrypt the stored tokens with a new key."),
}
"""Name to (module:object, one line of help), in the order of `dealmail --help`."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and help lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of COMMANDS."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, its module imported now; None where there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return add_common_options(getattr(importlib.import_module(f".{module}", __package__), attribute))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands from COMMANDS alone, so that --help stays quick."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """As click's, but an error is one line: exit code 2 for bad input, 1 for a failure, 130 after Ctrl-C."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # mail has letters that a terminal lacks
        try:
            sys.exit(super().main(args, prog_name, complete_var, standalone_mode=False, **extra) or 0)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(error.exit_code)
        except click.ClickException as error:
            hint = ""
            if isinstance(error, click.UsageError) and error.ctx is not None:
                hint = f" (see `{error.ctx.command_path} --help`)"
            click.echo(f"dealmail: {one_line(error.format_message())}{hint}", err=True)
            sys.exit(error.exit_code)
        except click.exceptions.Abort:
            click.echo("dealmail: stopped", err=True)
            sys.exit(130)
        except OSError as error:
            if error.filename is not None:  # a file or folder that this user cannot read or make
                click.echo(f"dealmail: {os.fsdecode(error.filename)}: {error.strerror}", err=True)
                sys.exit(1)
            if error.errno != errno.EPIPE:
                raise
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing is left to say
            sys.exit(1)


@click.group(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 110,
        "token_normalize_func": lambda name: name.replace("_", "-"),
    },
    help="Which of our e-mail belongs to this deal? Common options may stand before or after it.",
)
def cli() -> None:
    """Nothing to do before the sub-command."""


add_common_options(cli)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script's entry."""
    cli.main(args=None if arguments is None else list(arguments), prog_name="dealmail")


if __name__ == "__main__":
    main()
