"""A configuration from its file, its parent and overrides, with every error at once."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from smstune.config.schema import Config
from smstune.config.yaml_files import StrictLoader, read_yaml
from smstune.errors import UserError


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML, its one parent (``extends: FILE``) and ``key.path=value`` overrides.

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
        lines = "; ".join(_explain(item) for item in error.errors())
        raise UserError(f"{where}: {lines}") from error


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
    values = read_yaml(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    merged = read_yaml(path.parent / parent)
    if "extends" in merged:
        raise UserError(
            f"{path}: extends {parent}, which extends another: only one parent is allowed"
        )
    _merge(merged, values)
    return merged


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


def _explain(error: Mapping[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    key = ".".join(location)
    if error["type"] == "missing":
        return f"{key}: expected a value, found none: add it"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(location[-1], _known_keys(location[:-1]), n=1, cutoff=0.5)
        hint = f": did you mean {'.'.join([*location[:-1], near[0]])}?" if near else ""
        return f"{key}: unknown key{hint}"
    return f"{key}: {error['msg'].lower()}, found {error['input']!r}"


def _known_keys(location: Iterable[str]) -> list[str]:
    section: type[BaseModel] = Config
    for part in location:
        # The name of an entry or its place in a list is no field.
        if part in section.model_fields:
            section = _section_of(section.model_fields[part].annotation)
    return list(section.model_fields)


def _section_of(annotation: Any) -> type[BaseModel]:  # noqa: ANN401
    """Return the section class inside ``X | None``, ``list[X]`` or ``dict[str, X]``."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
    if get_origin(annotation) in (list, dict):
        annotation = get_args(annotation)[-1]
    return annotation  # type: ignore[no-any-return]
