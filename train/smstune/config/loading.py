"""A configuration from its file, its parent and overrides, with every error at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from smstune.config.schema import Config
from smstune.config.shipped import find_config, shipped_configs
from smstune.config.wording import explain
from smstune.config.yaml_files import StrictLoader, read_yaml
from smstune.errors import UserError


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML, its one parent (``extends: FILE``) and ``key.path=value`` overrides.

    ``extends`` and ``prepare.labels`` in a file are relative to that file, or the names of shipped
    ones; every other path, and all of the overrides', to the working folder.

    Raises:
        UserError: naming every wrong key or value at once, with its path.
    """
    path = Path(path)
    return build_config(_read_with_parent(path), overrides, path)


def build_config(values: dict[str, Any], overrides: Sequence[str], where: Path) -> Config:
    """Check ``values`` with ``overrides`` laid over them; errors name ``where`` they are from.

    Raises:
        UserError: naming every wrong key or value at once, with its path.
    """
    for override in overrides:
        _merge(values, _parse_override(override))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{where}: {explain(error, Config)}") from error


def dump_config(config: Config) -> str:
    """Return the resolved configuration as YAML; loading it gives an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_schema() -> str:
    """Return the JSON schema of a configuration file, for editors."""
    schema = Config.model_json_schema()
    schema["properties"]["extends"] = {"type": "string", "description": "One parent file."}
    # A child may leave everything to its parent or to the command line.
    schema.pop("required", None)
    return json.dumps(schema, indent=2, ensure_ascii=False)


def _read_with_parent(path: Path) -> dict[str, Any]:
    values = _read_file(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    merged = _read_file(find_config(parent, path.parent))
    if "extends" in merged:
        raise UserError(
            f"{path}: extends {parent}, which extends another: only one parent is allowed"
        )
    _merge(merged, values)
    return merged


def _read_file(path: Path) -> dict[str, Any]:
    """Read a YAML; the path of its label file, if it names one, becomes independent of where."""
    values = read_yaml(path)
    prepare = values.get("prepare")
    labels = prepare.get("labels") if isinstance(prepare, dict) else None
    if isinstance(labels, str):
        beside = path.parent / labels
        shipped = shipped_configs() / f"{labels}.yaml"
        if beside.is_file() or not shipped.is_file():
            values["prepare"] = {**values["prepare"], "labels": str(beside.resolve())}
    return values


def _merge(base: dict[str, Any], top: Mapping[str, Any]) -> None:
    for key, value in top.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"expected key.path=value, found {text!r}")
    try:
        nested = yaml.load(value, Loader=StrictLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{key}: expected a YAML value, found {value!r}") from error
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return dict(nested)
