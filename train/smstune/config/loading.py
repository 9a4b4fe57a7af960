"""Loads a configuration from a file, its parent and overrides, reporting all errors at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import UnionType
from typing import Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from smstune.config.schema import Config
from smstune.config.shipped import find_config, shipped_configs
from smstune.config.wording import explain
from smstune.config.yaml_files import YamlMapping, parse_yaml, read_yaml
from smstune.errors import UserError
from smstune.paths import user_path


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, its parent (``extends: FILE``) and ``key.path=value`` overrides.

    ``extends`` and ``prepare.labels`` in a file are relative to that file, or names of shipped
    files. All other paths, and those in overrides, are relative to the working folder.

    Raises:
        UserError: naming every wrong key or value at once, with its path.
    """
    path = Path(path)
    return build_config(_read_with_parent(path), overrides, path)


def build_config(values: YamlMapping, overrides: Sequence[str], origin: Path) -> Config:
    """Return the configuration of ``values`` and ``overrides``; errors name their ``origin``.

    Raises:
        UserError: naming every wrong key or value at once, with its path.
    """
    for override in overrides:
        _override(values, override)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(
            "{origin}: {problems}", origin=origin, problems=explain(error, Config)
        ) from error


def dump_config(config: Config) -> str:
    """Return the resolved configuration as YAML; loading it gives an equal one."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def config_schema() -> str:
    """Return the JSON schema of a configuration file, for editors."""
    schema = Config.model_json_schema()
    schema["properties"]["extends"] = {"type": "string", "description": "One parent file."}
    # Required keys may come from a parent or the command line.
    schema.pop("required", None)
    return json.dumps(schema, indent=2, ensure_ascii=False)


def _read_with_parent(path: Path) -> YamlMapping:
    values = _read_file(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    if not isinstance(parent, str):
        raise UserError(
            "{path}: extends: expected the name of one file, found {parent!r}",
            path=path,
            parent=parent,
        )
    merged = _read_file(find_config(parent, path.parent))
    if "extends" in merged:
        raise UserError(
            "{path}: extends {parent}, which extends another: only one parent is allowed",
            path=path,
            parent=parent,
        )
    _merge(merged, values, Config)
    return merged


def _read_file(path: Path) -> YamlMapping:
    """Read a YAML file and make the path of its label file absolute."""
    values = read_yaml(path)
    prepare = values.get("prepare")
    labels = prepare.get("labels") if isinstance(prepare, dict) else None
    if isinstance(labels, str):
        beside = path.parent / user_path(labels)
        shipped = shipped_configs() / f"{labels}.yaml"
        if beside.is_file() or not shipped.is_file():
            values["prepare"] = {**values["prepare"], "labels": str(beside.resolve())}
    return values


def _merge(base: YamlMapping, top: YamlMapping, model: type[BaseModel] | None) -> None:
    """Update ``base`` with ``top``: sections key by key, everything else (points, groups) whole."""
    for key, setting in top.items():
        section = subsection(model, key)
        if section and isinstance(setting, dict) and isinstance(base.get(key), dict):
            _merge(base[key], setting, section)
        else:
            base[key] = setting


def _override(values: YamlMapping, text: str) -> None:
    key, equals, written = text.partition("=")
    *parents, last = key.split(".")
    if not equals or not all((*parents, last)):
        raise UserError("expected key.path=value, found {text!r}", text=text)
    try:
        setting = parse_yaml(written)
    except UserError as error:
        raise UserError("{key}: {error}", key=key, error=error) from error
    model: type[BaseModel] | None = Config
    for name in parents:
        if not isinstance(values.get(name), dict):
            values[name] = {}
        values, model = values[name], subsection(model, name)
    _merge(values, {last: setting}, model)


def subsection(model: type[BaseModel] | None, key: str) -> type[BaseModel] | None:
    """Return the section of a key, ``None`` if the key has a plain value."""
    if model is None or key not in model.model_fields:
        return None
    annotation = model.model_fields[key].annotation
    is_optional = get_origin(annotation) in (Union, UnionType)
    kinds = get_args(annotation) if is_optional else (annotation,)
    sections = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return sections[0] if sections else None
