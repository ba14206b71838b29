"""Spaces: which settings to try, in files shipped with the package, by name."""

from importlib.resources import files

from bintally.errors import SettingsError


def space_names() -> list[str]:
    """The names of all spaces, sorted."""
    return sorted(
        entry.name.removesuffix(".toml") for entry in files(__name__).iterdir() if entry.name.endswith(".toml")
    )


def space_text(name: str) -> str:
    """The TOML of a space.

    Raises:
        SettingsError: if there is no such space.
    """
    if name not in space_names():
        raise SettingsError(f"no space is called {name!r}; choose {', '.join(space_names())}, or give a file: x.toml")
    return (files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
