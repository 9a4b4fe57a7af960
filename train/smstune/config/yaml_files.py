"""YAML read strictly."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from smstune.errors import UserError


class StrictLoader(yaml.SafeLoader):
    """YAML that refuses a key given twice and reads ``2e-5`` as the number it looks like."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node, each key once."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                line = node.value[index][0].start_mark.line + 1
                raise UserError(f"line {line}: key {key!r} is given twice: keep one")
        return super().construct_mapping(node, deep)


# YAML 1.1 asks for a dot in a float, so that 2e-5 would be a string.
StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping strictly.

    Raises:
        UserError: if the file is missing, is no UTF-8, no YAML or no mapping.
    """
    try:
        values = yaml.load(path.read_text("utf-8"), Loader=StrictLoader)
    except FileNotFoundError as error:
        raise UserError(f"expected a YAML file, found nothing at {path}: check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: expected UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: expected YAML: {error}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping of keys, found {type(values).__name__}")
    return values
