"""Finds the configurations shipped with smstune by name."""

from __future__ import annotations

import difflib
from pathlib import Path

from smstune.errors import UserError
from smstune.language import Message
from smstune.paths import user_path

_PACKAGE = Path(__file__).parents[1]


def shipped_configs(package: Path = _PACKAGE) -> Path:
    """Return the folder of the shipped configurations.

    In a wheel it is inside the package; in a checkout it is ``configs/`` beside ``train/``.
    """
    inside = package / "configs"
    return inside if inside.is_dir() else package.parents[1] / "configs"


def config_names() -> list[str]:
    """Return the name of each shipped file: its path below ``configs/`` without ``.yaml``."""
    folder = shipped_configs()
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")
    )


def find_config(name: str | Path, beside: Path = Path()) -> Path:
    """Return the file called ``name``, relative to the folder ``beside``, or the shipped one.

    A file that exists wins over a shipped name.

    Raises:
        UserError: if there is neither, with the closest shipped name.
    """
    path = beside / user_path(name)
    if path.is_file():
        return path
    shipped = shipped_configs() / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    near = difflib.get_close_matches(str(name), config_names(), n=1, cutoff=0.5)
    hint = Message("did you mean {name}? ", name=near[0]) if near else ""
    raise UserError(
        "expected a YAML file or a shipped configuration, found nothing at {path}: {hint}"
        "`smstune configs` lists the shipped ones",
        path=path,
        hint=hint,
    )
