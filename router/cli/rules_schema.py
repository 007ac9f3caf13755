"""`router rules schema`: what each governed file may hold, as JSON Schema, for editors."""

from __future__ import annotations

from pathlib import Path

import click

from routing_rules.load import FILES


@click.command()
@click.argument("file", required=False, type=click.Choice([*FILES, "cases.yaml"]), metavar="[FILE]")
@click.option("--to", "directory", type=click.Path(path_type=Path, file_okay=False), help="Write the schemas to DIR/schemas.")
def schema(file: str | None, directory: Path | None) -> None:
    """The JSON Schema of a governed file (such as routes.yaml; cases.yaml for the files in cases/), or of all.

    Editors with a YAML language server complete by it where the first line of a file is
    `# yaml-language-server: $schema=schemas/routes.json`, as in the files that come with the router.
    """
    from routing_rules.schema import written

    found = written()
    if file is not None:
        found = {name: text for name, text in found.items() if name == f"schemas/{file.removesuffix('.yaml')}.json"}
    if directory is None and file is None:
        raise click.UsageError("name a file, or a directory for all of them: router rules schema --to DIR")
    if directory is None:
        click.echo("".join(found.values()), nl=False)
        return
    for name, text in found.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    click.echo(f"{len(found)} schemas in {directory / 'schemas'}")
