"""`bintally recipes`: the recipes that ship, and what every setting means."""

from typing import Annotated

import typer


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe's settings file, to start one's own.")] = None,
) -> None:
    """List the recipes, or print one."""
    from rich.console import Console
    from rich.table import Table

    from bintally.settings import RunSettings, parse_settings
    from bintally.training.recipes import recipe_names, recipe_text

    if name is not None:
        typer.echo(recipe_text(name), nl=False)
        return
    console = Console()
    table = Table("recipe", "what it is", title="Recipes: bintally train DATA --recipe NAME")
    for each in recipe_names():
        table.add_row(each, parse_settings(recipe_text(each), name=each).description)
    console.print(table)
    keys = Table("setting", "default", "meaning", title="Settings: --config FILE, or --set KEY=VALUE")
    for key, default, meaning in RunSettings.list_keys():
        keys.add_row(key, default, meaning)
    console.print(keys)
