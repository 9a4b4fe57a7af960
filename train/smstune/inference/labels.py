"""LabelMap: the ordered labels of a task, their parents, and where each comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smstune.config.yaml_files import read_yaml
from smstune.errors import UserError
from smstune.files import write_json


@dataclass(frozen=True)
class LabelMap:
    """Labels in the order of their ids, with an optional parent for each.

    ``origins`` says which label of a source becomes which of ours; its keys are ``label`` or
    ``source:label``, the latter going before. It serves preparation only and is not stored.
    """

    names: tuple[str, ...]
    parents: tuple[str | None, ...]
    origins: dict[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise UserError(f"expected each label once, found {', '.join(twice)} twice")
        if len(self.names) < 2:
            raise UserError(
                f"expected at least two labels, found {len(self.names)}: a classifier needs two"
            )

    @property
    def id2label(self) -> dict[int, str]:
        """Label by id."""
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        """Id by label."""
        return {name: index for index, name in enumerate(self.names)}

    @property
    def parent_names(self) -> tuple[str, ...]:
        """The parents in order of first mention; empty when no label has one."""
        return tuple(dict.fromkeys(parent for parent in self.parents if parent is not None))

    def parent_ids(self) -> list[int]:
        """For each label the id of its parent in ``parent_names``; only if all labels have one."""
        order = {name: index for index, name in enumerate(self.parent_names)}
        return [order[parent] for parent in self.parents if parent is not None]

    def ids_of(self, names: Iterable[str], where: str) -> list[int]:
        """Return the ids of the labels that ``names`` name, by themselves or by their parent.

        Raises:
            UserError: if a name is neither a label nor a parent; ``where`` says who gave it.
        """
        named = set(names)
        unknown = sorted(named - set(self.names) - set(self.parent_names))
        if unknown:
            possible = ", ".join(dict.fromkeys([*self.parent_names, *self.names]))
            raise UserError(
                f"{where}: expected labels of the run or their parents ({possible}), found "
                f"{', '.join(unknown)}"
            )
        pairs = zip(self.names, self.parents, strict=True)
        return [
            label_id
            for label_id, (name, parent) in enumerate(pairs)
            if name in named or parent in named
        ]

    def resolve(self, source: str, label: str) -> str | None:
        """Return our label for a source's ``label``, or ``None`` if we have none."""
        return self.origins.get(f"{source}:{label}", self.origins.get(label))

    def save(self, path: Path) -> None:
        """Write ``labels.json``: a list of ``{"name", "parent"}`` in the order of the ids."""
        rows = [
            {"name": name, "parent": parent}
            for name, parent in zip(self.names, self.parents, strict=True)
        ]
        write_json(path, rows)

    @classmethod
    def load(cls, path: Path) -> LabelMap:
        """Read ``labels.json``."""
        try:
            rows = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"expected labels.json, found nothing at {path}") from error
        return cls.from_names((row["name"] for row in rows), (row["parent"] for row in rows))

    @classmethod
    def from_names(
        cls, names: Iterable[str], parents: Iterable[str | None] | None = None
    ) -> LabelMap:
        """Make a map whose labels keep the names that the sources give them."""
        names = tuple(names)
        return cls(
            names,
            (None,) * len(names) if parents is None else tuple(parents),
            {name: name for name in names},
        )

    @classmethod
    def from_yaml(cls, path: Path) -> LabelMap:
        """Read a label file.

        ``labels:`` lists ``{name, parent, from}``; ``from`` names the source labels that become
        this one and defaults to the name itself.

        Raises:
            UserError: on any other key, a label without name, or a source label taken twice.
        """
        rows = read_yaml(path).get("labels")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UserError(f"{path}: expected `labels:` with a list of {{name, parent, from}}")
        origins: dict[str, str] = {}
        for row in rows:
            _check_row(path, row)
            for origin in row.get("from", [row["name"]]):
                if str(origin) in origins:
                    raise UserError(
                        f"{path}: source label {origin!r} goes to both {origins[str(origin)]!r} "
                        f"and {row['name']!r}: keep one"
                    )
                origins[str(origin)] = row["name"]
        names = tuple(row["name"] for row in rows)
        parents = tuple(row.get("parent") for row in rows)
        if any(parents) and not all(parents):
            raise UserError(f"{path}: expected a parent for every label or for none")
        return cls(names, parents, origins)


def _check_row(path: Path, row: dict[str, Any]) -> None:
    unknown = set(row) - {"name", "parent", "from"}
    if unknown:
        raise UserError(
            f"{path}: unknown key {', '.join(sorted(map(str, unknown)))} of a label: "
            "expected name, parent, from"
        )
    if not isinstance(row.get("name"), str) or not row["name"]:
        raise UserError(f"{path}: expected a name for every label, found {row!r}")
    if not isinstance(row.get("from", []), list):
        raise UserError(f"{path}: label {row['name']}: expected a list in `from`")
