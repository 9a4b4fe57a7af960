"""The labelled messages on which false alarms are measured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from smstune.arrays import Ints
from smstune.campaigns.sketch import TextSketches, sketch_texts
from smstune.deploy.learn.bound import upper_bound
from smstune.deploy.learn.linked import linked
from smstune.errors import UserError
from smstune.files import file_hash
from smstune.inference.label_names import shown_cell
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import Manifest
from smstune.inference.memory.entries import FalseAlarms
from smstune.inference.memory.index import Pairs, empty_index
from smstune.tables.options import TableOptions
from smstune.tables.read import read_rows
from smstune.tables.row import TableRow

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """Distinct messages with label and campaign; ``name`` is that of their file or folder."""

    name: str
    sketches: TextSketches
    label_ids: Ints
    campaigns: Ints

    def false_alarms(self, pairs: Pairs, entries: Ints, label_ids: Ints) -> list[FalseAlarms]:
        """Return the false alarms of each entry; ``label_ids`` are the entries' labels.

        ``pairs`` are of these messages and remembered ones, ``entries`` has the entry of each pair.
        """
        alarms = self.label_ids[pairs.messages] != label_ids[entries]
        messages, entries = pairs.messages[alarms], entries[alarms]
        n_messages = _count_distinct(entries, messages, len(label_ids))
        n_campaigns = _count_distinct(entries, self.campaigns[messages], len(label_ids))
        totals = {
            label_id: self._totals_of_other_labels(label_id) for label_id in set(label_ids.tolist())
        }
        counts = zip(label_ids.tolist(), n_messages.tolist(), n_campaigns.tolist(), strict=True)
        return [
            FalseAlarms(
                source=self.name,
                messages=messages_of_entry,
                of_messages=totals[label_id][0],
                campaigns=campaigns_of_entry,
                of_campaigns=totals[label_id][1],
                bound=upper_bound(campaigns_of_entry, totals[label_id][1]),
            )
            for label_id, messages_of_entry, campaigns_of_entry in counts
        ]

    def _totals_of_other_labels(self, label_id: int) -> tuple[int, int]:
        others = self.label_ids != label_id
        return int(others.sum()), len(np.unique(self.campaigns[others]))


def _count_distinct(entries: Ints, members: Ints, n_entries: int) -> Ints:
    """Return for each entry how many distinct members it has."""
    return np.bincount(np.unique(entries << 32 | members) >> 32, minlength=n_entries)


def reference_of_run(manifest: Manifest, labels: LabelMap, similarity: float) -> Reference | None:
    """Return the messages of the prepared folder that a run was trained on.

    ``None`` where the folder is not there or another, or the extra ``parquet`` is not installed.
    """
    folder = Path(manifest.data.path)
    hashes = manifest.data.sha256
    files = {name: folder / name for name in hashes}
    if not all(file.is_file() for file in files.values()):
        return None
    if find_spec("pyarrow") is None:
        logger.warning(
            "warning: %s cannot be read, because the extra parquet is not installed", folder
        )
        return None
    if any(file_hash(file) != hashes[name] for name, file in files.items()):
        logger.warning("warning: %s is not the data that the run was trained on", folder)
        return None
    options = TableOptions(text="text", label="label", group="group")
    rows = [row for file in files.values() for row in read_rows(file, options)]
    texts = [manifest.text.masked(row.text or "") for row in rows]
    sketches = sketch_texts(texts, threshold=similarity)
    _, campaigns = np.unique([row.group or "" for row in rows], return_inverse=True)
    return Reference(str(folder), sketches, _label_ids(rows, labels, folder), campaigns)


def reference_of_file(
    path: Path,
    preprocess: Callable[[Sequence[str]], list[str]],
    labels: LabelMap,
    similarity: float,
) -> Reference:
    """Return the messages of a file with the columns text and label.

    Raises:
        UserError: if a row is unusable or has a label that the run does not have.
    """
    rows = list(read_rows(path, TableOptions()))
    if not rows:
        raise UserError("expected messages in {path}, found no row", path=path)
    sketches = sketch_texts(preprocess([row.text or "" for row in rows]), threshold=similarity)
    pairs = empty_index(len(sketches.keys)).with_messages(sketches).pairs(sketches, similarity)
    campaigns = linked(len(rows), pairs.messages, pairs.known)
    return Reference(path.name, sketches, _label_ids(rows, labels, path), campaigns)


def _label_ids(rows: Sequence[TableRow], labels: LabelMap, path: Path) -> Ints:
    label_ids = labels.ids_of_texts()
    for row in rows:
        if row.problem:
            raise UserError(
                "{path}, row {line}: {problem}: correct the row or delete it",
                path=path,
                line=row.line,
                problem=row.problem,
            )
        if row.label not in label_ids:
            raise UserError(
                "{path}, row {line}: expected a label of the run, found {label}: correct the row "
                "or delete it",
                path=path,
                line=row.line,
                label=shown_cell(row.label or ""),
            )
    return np.array([label_ids[row.label or ""] for row in rows], dtype=np.int64)
