"""LabelMap: the ordered labels of a task, their parents, and where each comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from smstune.errors import UserError
from smstune.files import write_json
from smstune.inference.label_files import LabelTitle, read_label_file
from smstune.tables.labels import label_name


@dataclass(frozen=True)
class LabelMap:
    """Labels in the order of their ids, with an optional parent for each.

    ``titles`` are what reports show beside the names; a label may have none. ``origins`` says
    which label of a source becomes which of ours; its keys are ``label`` or ``source:label``, the
    latter going before. It serves preparation only and is not stored.
    """

    names: tuple[str, ...]
    parents: tuple[str | None, ...]
    titles: dict[str, LabelTitle] = field(default_factory=dict, compare=False)
    origins: dict[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise UserError("expected each label once, found {twice} twice", twice=", ".join(twice))
        if len(self.names) < 2:
            raise UserError(
                "expected at least two labels, found {n_labels}: a classifier needs two",
                n_labels=len(self.names),
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
                "{where}: expected labels of the run or their parents ({possible}), found "
                "{unknown}",
                where=where,
                possible=possible,
                unknown=", ".join(unknown),
            )
        pairs = zip(self.names, self.parents, strict=True)
        return [
            label_id
            for label_id, (name, parent) in enumerate(pairs)
            if name in named or parent in named
        ]

    def ids_of_texts(self) -> dict[str, int]:
        """Return the id of each label by its name as ``label_name`` writes that of a file.

        A run that was trained before names were trimmed may have a label such as ``True``.
        """
        return {label_name(name) or name: index for index, name in enumerate(self.names)}

    def without(self, names: Iterable[str]) -> LabelMap:
        """Return the map without these labels; the others keep their order.

        Raises:
            UserError: if fewer than two remain.
        """
        removed = set(names)
        remaining_ids = [index for index, name in enumerate(self.names) if name not in removed]
        return LabelMap(
            tuple(self.names[index] for index in remaining_ids),
            tuple(self.parents[index] for index in remaining_ids),
            {name: title for name, title in self.titles.items() if name not in removed},
            self.origins,
        )

    def shown_names(self, language: str = "en") -> dict[str, str]:
        """Return each name with its title in brackets, in the language or else in the other.

        A title that says no more than the name (fraud, Fraud) is not shown.
        """
        shown = {}
        for name in self.names:
            title = self.titles.get(name, LabelTitle(None, None))
            first, second = (title.zh, title.en) if language == "zh" else (title.en, title.zh)
            text = first or second
            shown[name] = (
                f"{name} ({text})" if text and text.casefold() != name.casefold() else name
            )
        return shown

    def resolve(self, source: str, label: str) -> str | None:
        """Return our label for a source's ``label``, or ``None`` if we have none."""
        return self.origins.get(f"{source}:{label}", self.origins.get(label))

    def save(self, path: Path) -> None:
        """Write ``labels.json``: ``{"name", "parent"}`` in the order of the ids, and any title."""
        rows: list[dict[str, object]] = []
        for name, parent in zip(self.names, self.parents, strict=True):
            row: dict[str, object] = {"name": name, "parent": parent}
            if title := self.titles.get(name):
                row["title"] = {"zh": title.zh, "en": title.en}
            rows.append(row)
        write_json(path, rows)

    @classmethod
    def load(cls, path: Path) -> LabelMap:
        """Read ``labels.json``; one that was written before labels had titles has none."""
        try:
            rows = json.loads(path.read_text("utf-8"))
        except FileNotFoundError as error:
            raise UserError("expected labels.json, found nothing at {path}", path=path) from error
        names = tuple(row["name"] for row in rows)
        titles = {
            row["name"]: LabelTitle(row["title"].get("zh"), row["title"].get("en"))
            for row in rows
            if row.get("title")
        }
        parents = tuple(row["parent"] for row in rows)
        return cls(names, parents, titles, {name: name for name in names})

    @classmethod
    def from_names(
        cls, names: Iterable[str], parents: Iterable[str | None] | None = None
    ) -> LabelMap:
        """Make a map whose labels keep the names that the sources give them."""
        names = tuple(names)
        return cls(
            names,
            (None,) * len(names) if parents is None else tuple(parents),
            origins={name: name for name in names},
        )

    @classmethod
    def from_yaml(cls, path: Path) -> LabelMap:
        """Read a label file, whose forms ``read_label_file`` describes.

        Raises:
            UserError: if it has another form, names a label twice, or gives parents to some
                labels only.
        """
        entries = read_label_file(path)
        names = tuple(entry.name for entry in entries)
        parents = tuple(entry.parent for entry in entries)
        if any(parents) and not all(parents):
            raise UserError("{path}: expected a parent for every label or for none", path=path)
        try:
            return cls(
                names,
                parents,
                {entry.name: entry.title for entry in entries if entry.title},
                {source: entry.name for entry in entries for source in entry.sources},
            )
        except UserError as error:
            raise UserError("{path}: {error}", path=path, error=error) from error
