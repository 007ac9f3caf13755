"""The `router` command. Each command lives in a module of its own that is imported when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from router.settings import SettingsError

COMMANDS = {
    "serve": ("router.cli.serve", "serve"),
    "work": ("router.cli.serve", "work"),
    "drain": ("router.cli.serve", "drain"),
    "health": ("router.cli.serve", "health"),
    "keys": ("router.cli.keys", "keys"),
    "people": ("router.cli.people", "people"),
    "approvals": ("router.cli.approvals", "approvals"),
    "classify": ("router.cli.classify", "classify"),
    "explain": ("router.cli.explain", "explain"),
    "rules": ("router.cli.rules", "rules"),
    "report": ("router.cli.report", "report"),
    "prices": ("router.cli.prices", "prices"),
    "ledger": ("router.cli.ledger", "ledger"),
    "audit": ("router.cli.audit", "audit"),
    "budgets": ("router.cli.budgets", "budgets"),
    "backup": ("router.cli.backup", "backup"),
    "restore": ("router.cli.backup", "restore"),
    "session": ("router.cli.session", "session"),
    "eval": ("router.cli.evaluate", "evaluate"),
    "train": ("router.cli.train", "train"),
    "calibrate": ("router.cli.calibrate", "calibrate"),
    "tools": ("router.cli.tools", "tools"),
    "onboard": ("router.cli.onboard", "onboard"),
    "blast-radius": ("router.cli.blast_radius", "blast_radius"),
    "demo": ("router.cli.demo", "demo"),
    "settings": ("router.cli.settings", "settings"),
}


class Lazy(click.Group):
    """Imports a command when it is asked for, so that each starts as fast as its own imports."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in alphabetical order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="task-sensitivity-router")
def cli() -> None:
    """An OpenAI-compatible endpoint that classifies, routes, entitles, budgets and records every task."""


def main() -> None:
    """Run the command line. What an operator can put right is one sentence on standard error; exit status 2 for settings and
    arguments, 1 for the rest."""
    try:
        cli.main(standalone_mode=True)
    except SettingsError as error:
        sys.stderr.write(f"router: {error}\n")
        sys.exit(2)
