"""Strict reading of YAML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from smstune.errors import UserError

#: A mapping of a YAML file, before it is validated.
YamlMapping = dict[str, Any]


class StrictLoader(yaml.SafeLoader):
    """A loader that refuses duplicate keys and has the plain scalars of YAML 1.2.

    Numbers and booleans follow section 10.3.2: ``010`` is 10 and ``2e-5`` a number; ``1:30``,
    ``no`` and dates are strings.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping of a node without duplicate keys; a key may override a merged one."""
        named = [key for key, _ in node.value if key.tag != _MERGE]
        keys = [self.construct_object(key, deep=True) for key in named]
        for index, key in enumerate(keys):
            if key in keys[:index]:
                line = named[index].start_mark.line + 1
                raise UserError(
                    "line {line}: key {key!r} is given twice: keep one", line=line, key=key
                )
        return super().construct_mapping(node, deep)

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """Return a text that files and paths can contain: without NUL and lone surrogates."""
        if re.search("[\0\ud800-\udfff]", node.value):
            line = node.start_mark.line + 1
            raise UserError("line {line}: expected text without NUL and lone surrogates", line=line)
        return str(node.value)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        """Return a decimal, octal (``0o``) or hexadecimal number."""
        digits = node.value.replace("_", "")
        prefix = digits.lstrip("+-")[:2]
        try:
            return int(digits, 0 if prefix in ("0x", "0o") else 10)
        except ValueError as error:
            # Python refuses more than 4,300 digits.
            raise UserError(
                "line {line}: expected a number, found one of {n_digits} digits",
                line=node.start_mark.line + 1,
                n_digits=len(digits),
            ) from error


# PyYAML's own resolvers are those of YAML 1.1.
StrictLoader.yaml_implicit_resolvers = {}
_MERGE = "tag:yaml.org,2002:merge"
_DIGITS = "0123456789"
for tag, pattern, first_characters in (
    (_MERGE, "<<", "<"),
    ("tag:yaml.org,2002:null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?\d[\d_]*|0x[\da-fA-F_]+|0o[0-7_]+", f"-+{_DIGITS}"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)?|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN)",
        f"-+.{_DIGITS}",
    ),
):
    StrictLoader.add_implicit_resolver(tag, re.compile(rf"^(?:{pattern})$"), list(first_characters))
StrictLoader.add_constructor("tag:yaml.org,2002:int", StrictLoader.construct_integer)
StrictLoader.add_constructor("tag:yaml.org,2002:str", StrictLoader.construct_text)


class TextLoader(StrictLoader):
    """Reads every plain scalar as text: ``01``, ``yes`` and ``1.50`` stay as they are written."""


# Of the resolvers only that of merge keys (``<<``) is left.
TextLoader.yaml_implicit_resolvers = {"<": StrictLoader.yaml_implicit_resolvers["<"]}


def parse_yaml(text: str, loader: type[StrictLoader] = StrictLoader) -> Any:  # noqa: ANN401
    """Return the value of a YAML text; ``loader`` decides what its plain scalars are.

    Raises:
        UserError: if it is not YAML, or has a duplicate key.
    """
    try:
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise UserError("expected YAML: {error}", error=error) from error
    except RecursionError as error:
        raise UserError("expected YAML, found lists or mappings nested too deeply") from error


def read_yaml(path: Path) -> YamlMapping:
    """Read a file with a YAML mapping.

    Raises:
        UserError: if the file is missing, or is not UTF-8, not YAML or not a mapping.
    """
    try:
        values = parse_yaml(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UserError("no YAML file at {path}: check the path", path=path) from error
    except UnicodeDecodeError as error:
        raise UserError("{path}: expected UTF-8 text: {error}", path=path, error=error) from error
    except UserError as error:
        raise UserError("{path}: {error}", path=path, error=error) from error
    if not isinstance(values, dict):
        raise UserError(
            "{path}: expected a mapping of keys, found {type_name}",
            path=path,
            type_name=type(values).__name__,
        )
    return values
