"""Label files: which labels there are, and which label of a source becomes which of them."""

from __future__ import annotations

import json
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from smstune.errors import UserError
from smstune.language import Message
from smstune.tables.labels import label_name

_KEYS = ("name", "parent", "from", "title")
_LANGUAGES = ("zh", "en")
_ENCODINGS = ("utf-8-sig", "gb18030")
_FORMS = Message(
    "a list of names, a list of {name, parent, from, title}, or a mapping of source to name"
)


@dataclass(frozen=True)
class LabelTitle:
    """What readers of Chinese and of English call a label; ``None`` where nothing is given."""

    zh: str | None
    en: str | None


@dataclass(frozen=True)
class LabelEntry:
    """A label of a label file; ``sources`` are the labels of the data that become this one."""

    name: str
    sources: tuple[str, ...]
    parent: str | None = None
    title: LabelTitle | None = None


def read_label_file(path: Path) -> list[LabelEntry]:
    """Return the labels of a label file, in the order of their ids.

    The file is YAML or JSON: a list of names; a list of ``{name, parent, from, title}``, where
    ``from`` defaults to the name; or a mapping of source labels to names. Each may stand below the
    key ``labels``. Names are written as ``label_name`` writes those of the data.

    Raises:
        UserError: if the file has another form, or a source label goes to two labels.
    """
    try:
        entries = _entries(_parse(path))
        _check_sources(entries)
    except UserError as error:
        raise UserError("{path}: {error}", path=path, error=error) from error
    return entries


def label_file_text(rows_by_label: Mapping[str, int]) -> str:
    """Return a label file to begin with: each label with empty titles, its rows in a comment."""
    lines = [
        "# One line a label, in the order of their ids. To rename a label, change its name and add",
        "# that of the data: {name: fraud, from: [诈骗]}. To join labels, list both in `from`.",
        "# Titles are shown beside the name in reports; they may stay empty.",
        "labels:",
    ]
    lines += [
        f'  - {{name: {json.dumps(name, ensure_ascii=False)}, title: {{zh: "", en: ""}}}}'
        f"  # {count:,} row{'s' * (count != 1)}"
        for name, count in rows_by_label.items()
    ]
    return "\n".join(lines) + "\n"


def _parse(path: Path) -> object:
    try:
        text = _decoded(path.read_bytes())
    except OSError as error:
        raise UserError(
            "cannot read the label file: {strerror}: check the path", strerror=error.strerror
        ) from error
    if path.suffix.lower() != ".json":
        # A run's labels are JSON: predictions need no YAML, whose import takes 0.01 s.
        from smstune.config.yaml_files import TextLoader, parse_yaml

        return parse_yaml(text, TextLoader)
    # YAML is no superset of JSON: it knows neither tabs between values nor surrogate pairs.
    try:
        return json.loads(
            text, parse_int=str, parse_float=str, object_pairs_hook=_without_duplicates
        )
    except json.JSONDecodeError as error:
        raise UserError("expected JSON: {error}", error=error) from error


def _decoded(content: bytes) -> str:
    """Return the text of a file as editors on Windows save it, too: UTF-16 or GB18030."""
    encodings = ("utf-16",) if content[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else _ENCODINGS
    for encoding in encodings:
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError("expected text: save the file as UTF-8")


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise UserError("key {name!r} is given twice: keep one", name=name)
    return dict(pairs)


def _entries(content: object) -> list[LabelEntry]:
    labels = content
    if isinstance(content, Mapping) and isinstance(content.get("labels"), list | Mapping):
        labels = content["labels"]
        if unknown := [str(key) for key in content if key != "labels"]:
            raise UserError(
                "unknown key {unknown} beside labels: remove it", unknown=", ".join(unknown)
            )
    if isinstance(labels, list) and labels:
        return [_entry(row) for row in labels]
    if isinstance(labels, Mapping) and labels:
        return _mapped_entries(labels)
    raise UserError("found no labels: expected {forms}", forms=_FORMS)


def _mapped_entries(names_by_source: Mapping[object, object]) -> list[LabelEntry]:
    sources_by_name: dict[str, list[str]] = {}
    for source, name in names_by_source.items():
        label = _label(name, Message("of source label {source!r}", source=source))
        sources_by_name.setdefault(label, []).append(
            _label(source, Message("of every source label"))
        )
    return [LabelEntry(name, tuple(sources)) for name, sources in sources_by_name.items()]


def _entry(row: object) -> LabelEntry:
    if not isinstance(row, Mapping):
        name = _label(row, Message("for every label"))
        return LabelEntry(name, (name,))
    unknown = sorted(str(key) for key in row if key not in _KEYS)
    if unknown:
        raise UserError(
            "unknown key {unknown} of a label: expected {keys}",
            unknown=", ".join(unknown),
            keys=", ".join(_KEYS),
        )
    name = _label(row.get("name"), Message("for every label"))
    sources = row.get("from", [name])
    if isinstance(sources, Mapping) or not sources:
        raise UserError("label {name}: expected a list of source labels in `from`", name=name)
    return LabelEntry(
        name,
        tuple(
            _label(source, Message("in `from` of {name}", name=name))
            for source in (sources if isinstance(sources, list) else [sources])
        ),
        _optional_text(row.get("parent"), f"label {name}: parent"),
        _title(row.get("title"), name),
    )


def _title(title: object, name: str) -> LabelTitle | None:
    if _is_empty(title):
        return None
    if not isinstance(title, Mapping) or set(title) - set(_LANGUAGES):
        raise UserError(
            "label {name}: expected a title such as {{zh: 诈骗短信, en: Fraud}}", name=name
        )
    zh, en = (_optional_text(title.get(key), f"label {name}: title") for key in _LANGUAGES)
    return LabelTitle(zh, en) if zh or en else None


def _label(scalar: object, whose: Message) -> str:
    text = None if isinstance(scalar, list | Mapping) else label_name(scalar)
    if text is None:
        raise UserError("expected a name {whose}, found {scalar!r}", whose=whose, scalar=scalar)
    return text


def _optional_text(scalar: object, key: str) -> str | None:
    if isinstance(scalar, list | Mapping):
        raise UserError("{key}: expected text", key=key)
    return None if _is_empty(scalar) else str(scalar).strip()


def _is_empty(scalar: object) -> bool:
    """Return whether an optional key has no value; this loader reads ``null`` as text."""
    return scalar is None or (isinstance(scalar, str) and scalar.strip() in ("", "~", "null"))


def _check_sources(entries: Iterable[LabelEntry]) -> None:
    name_of_source: dict[str, str] = {}
    for entry in entries:
        for source in entry.sources:
            name = name_of_source.setdefault(source, entry.name)
            if name != entry.name:
                raise UserError(
                    "source label {source!r} goes to both {first!r} and {second!r}: keep one",
                    source=source,
                    first=name,
                    second=entry.name,
                )
