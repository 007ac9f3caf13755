"""`router settings`: the page of all settings, as it stands in `docs/settings.md`."""

from __future__ import annotations

import click
from pydantic_core import PydanticUndefined

from router.settings import Settings

HEAD = """# Settings

Process settings come from environment variables, or from a TOML file that `ROUTER_CONFIG` names (keys in lower case, without the
prefix). A variable wins over the file, an argument of `router serve` over both. What is wrong is named at start; an unknown
`ROUTER_` variable is refused. Who may use which model, tool and budget is never set here: that is what the rules are for
([rules.md](rules.md)).

| variable | default | meaning |
|---|---|---|
"""


@click.command()
def settings() -> None:
    """Print docs/settings.md."""
    click.echo(page(), nl=False)


def page() -> str:
    """The Markdown of all settings."""
    rows = []
    for name, field in Settings.model_fields.items():
        variables = [f"`ROUTER_{name.upper()}`"]
        if name in ("redis_url", "database_url"):
            variables.append(f"`{name.upper()}`")
        default = "unset" if field.default in (None, PydanticUndefined, ()) else f"`{field.default}`"
        rows.append(f"| {' or '.join(variables)} | {default} | {field.description} |")
    return HEAD + "\n".join(rows) + "\n"
