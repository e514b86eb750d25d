"""`dealmail settings`: what a team decides for itself, shown and changed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import click

from .context import BadInputError, Settings, with_settings
from .tables import Format, format_option, write

MEANING: Final = {
    "on_trash": "an imported mail that is moved to the trash: keep or remove",
    "on_spam": "an imported mail that is moved to spam: keep or remove",
    "on_delete": "an imported mail that is deleted for good in Gmail: remove or keep",
    "on_opt_out": "a mailbox's copies when its user turns import off: keep or erase",
    "retention_days": "mail older than so many days is removed and not imported; none keeps it",
    "rules": "version of the rule set for automated mail; empty is the newest",
    "shadow_rules": "a second version that is counted beside it and decides nothing",
    "automated_threshold": "score from which mail counts as automated; none is the rule set's own",
    "signals_off": "signals and facts that are not looked at",
    "keep_kinds": "kinds of automated mail that are imported all the same",
}
"""Each setting in words; docs/rules.md has the same table."""

_AFTERWARDS: Final = {
    "retention_days": "What is too old goes with the job's daily turn, or now with `dealmail db tidy`.",
    "on_opt_out": "With erase, what users who are off already have left goes with the job's daily turn, or now with `dealmail db tidy`.",
    "on_trash": "It holds for mail that is moved from now on.",
    "on_spam": "It holds for mail that is moved from now on.",
    "on_delete": "It holds for mail that is deleted from now on.",
}
_NONE: Final = "none"
_RULES_AFTERWARDS: Final = "It holds for mail that is read from now on; what was decided before stays as it was."


def _words(value: Any) -> str:
    if value is None:
        return _NONE
    return ",".join(sorted(value)) if isinstance(value, frozenset) else str(value)


def _number(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """Reads what `_words` shows: a number, or `none`, which is these settings' default."""

    def parse(text: str) -> Any:
        if text.strip().lower() == _NONE:
            return None
        try:
            return read(text)
        except ValueError:
            return text  # TeamSettings says what is wrong with it

    return parse


def _listed(text: str) -> list[str]:
    return sorted({part.strip() for part in text.split(",") if part.strip()})


_READ: Final[dict[str, Callable[[str], Any]]] = {
    "retention_days": _number(int),
    "automated_threshold": _number(float),
    "signals_off": _listed,
    "keep_kinds": _listed,
}


@click.group(name="settings")
def team_settings() -> None:
    """Show and change what a team decides for itself: retention, opt-outs, rules."""


@team_settings.command()
@format_option
@with_settings
def show(settings: Settings, format_: Format) -> None:
    """Every setting of the team: its value, its default, and what it means."""
    from ..io.team_settings import read_settings
    from ..transforms.settings import TeamSettings

    with settings.open_database() as database, _refusing():
        found = read_settings(database, settings.team_id(database))
    own, default = found.to_json(), TeamSettings()

    def plain(value: Any) -> Any:
        return sorted(value) if isinstance(value, frozenset) else value

    write(
        [
            {
                "setting": name,
                "value": plain(getattr(found, name)),
                "default": plain(getattr(default, name)),
                "meaning": meaning,
            }
            for name, meaning in MEANING.items()
        ],
        [
            ("setting", lambda row: row["setting"]),
            ("value", lambda row: _words(getattr(found, row["setting"]))),
            ("", lambda row: "set" if row["setting"] in own else "default"),
            ("meaning", lambda row: row["meaning"]),
        ],
        format_,
        empty="",
    )


@team_settings.command(name="set", context_settings={"ignore_unknown_options": True})  # -1 is a number
@click.argument("name")
@click.argument("value")
@with_settings
def set_(settings: Settings, name: str, value: str) -> None:
    """Give the setting NAME a VALUE; several signals or kinds are separated by commas.

    A running job takes it up within seconds (on Dataflow, half a minute).
    """
    _refuse_unknown(name, value)
    _change(settings, name, _READ.get(name, str)(value))


@team_settings.command()
@click.argument("name")
@with_settings
def reset(settings: Settings, name: str) -> None:
    """Give the setting NAME its default again."""
    _change(settings, name, None)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    from ..io.team_settings import SettingError

    try:
        yield
    except SettingError as error:
        raise BadInputError(f"{error} (`dealmail settings reset NAME` gives one its default)") from None


def _refuse_unknown(name: str, value: str) -> None:
    """Names of rule sets, signals and facts, which the job passes over in silence where it does not know them."""
    from ..transforms import automated

    known = list(automated.rule_sets())
    if name in ("rules", "shadow_rules") and value not in ("", *known):
        raise BadInputError(f"setting {name}={value!r}: there is no such rule set; use one of {', '.join(known)}")
    if name == "signals_off":
        signals = {signal for signal, *_ in automated.describe()}
        if unknown := [one for one in _listed(value) if one not in signals]:
            raise BadInputError(f"setting signals_off has {unknown[0]!r}: `dealmail rules signals` lists the names")


def _change(settings: Settings, name: str, value: Any) -> None:
    from ..io.team_settings import change_setting, read_settings

    with settings.open_database() as database, _refusing():
        team_id = settings.team_id(database)
        changed = change_setting(database, team_id, name, value)
        now = getattr(read_settings(database, team_id), name, None)
    if not changed:
        click.echo(f"{name} is {_words(now) or 'empty'} already")
        return
    click.echo(f"{name} is {_words(now) or 'empty'} now. {_AFTERWARDS.get(name, _RULES_AFTERWARDS)}")
