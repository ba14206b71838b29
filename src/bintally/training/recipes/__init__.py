"""Recipes: settings files shipped with the package, by name."""

from importlib.resources import files

from bintally.errors import SettingsError


def recipe_names() -> list[str]:
    """The names of all recipes, sorted."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name.endswith(".toml")
    )


def recipe_text(name: str) -> str:
    """The TOML of a recipe.

    Raises:
        SettingsError: if there is no such recipe.
    """
    if name not in recipe_names():
        raise SettingsError(f"no recipe is called {name!r}; choose {', '.join(recipe_names())}, or use --config FILE")
    return (files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
