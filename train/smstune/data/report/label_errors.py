"""Labels that are probably wrong, found by cross-validation."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from smstune.arrays import Floats, Ints
from smstune.data.manifest import MANIFEST, SuspectedLabels
from smstune.data.prepared import load_preparation, load_split
from smstune.data.splits.methods import SPLITS, kfold_by_group
from smstune.files import file_written_whole, write_json
from smstune.inference.label_names import list_names
from smstune.inference.labels import LabelMap
from smstune.inference.linear import ABSENT
from smstune.modeling.fit_linear import fit_linear
from smstune.text.pii.mask import shown

#: An n-gram of one campaign tells nothing about the others. The list stays on the user's machine,
#: so nothing asks for more.
_MIN_CAMPAIGNS = 2

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suspect:
    """A message whose label may be wrong: its row, both labels, and their probabilities."""

    row: int
    given: str
    likely: str
    given_probability: float
    likely_probability: float
    text: str


def find_label_errors(
    texts: Sequence[str],
    labels: Ints,
    groups: Ints,
    names: Sequence[str],
    *,
    folds: int = 5,
    seed: int = 42,
) -> list[Suspect]:
    """Return the messages whose label is probably wrong, the surest first.

    These are the off-diagonal entries of the confident joint, ranked by normalised margin (the
    probability of the label minus that of the likely one). Only negative margins are returned. A
    row whose own label is still the likelier one is usually right: of 301 such rows in FBS with
    5 % of its labels flipped, 8 had been flipped. Each campaign is in one fold; otherwise copies
    of a mislabelled message would confirm its label. Labels of fewer than ``folds`` groups are not
    searched, because their probabilities cannot be learned from so few; a warning names them. Texts
    are masked and cut.
    """
    rows = _searchable_rows(labels, groups, names, folds)
    present, row_labels = np.unique(labels[rows], return_inverse=True)
    if len(present) < 2:
        logger.warning("warning: no search for label errors: fewer than two labels can be searched")
        return []
    scores = _out_of_fold_scores(
        [texts[row] for row in rows.tolist()], row_labels, groups[rows], folds, seed
    )
    # A campaign with two labels can leave a fold without one of them.
    is_scored = scores[np.arange(len(rows)), row_labels] > ABSENT
    rows, row_labels, scores = rows[is_scored], row_labels[is_scored], scores[is_scored]
    if not len(rows):
        return []
    probabilities = _probabilities(scores, row_labels)
    likely = confident_labels(probabilities, row_labels)
    both = np.stack([row_labels, likely], axis=1)
    pair = np.take_along_axis(probabilities, both, axis=1).round(4)
    margin = pair[:, 0] - pair[:, 1]
    ranked = np.argsort(margin, kind="stable")
    return [
        Suspect(
            row=int(rows[index]),
            given=names[present[row_labels[index]]],
            likely=names[present[likely[index]]],
            given_probability=float(pair[index, 0]),
            likely_probability=float(pair[index, 1]),
            text=shown(texts[int(rows[index])]),
        )
        for index in ranked[margin[ranked] < 0].tolist()
    ]


def confident_labels(probabilities: Floats, labels: Ints) -> Ints:
    """Return for each row the label that the model confidently predicts, else the row's own one.

    A label's threshold is its mean probability over the rows with that label. The prediction is the
    likeliest of the labels whose threshold the row reaches (equations 1 and 2 of Northcutt, Jiang
    and Chuang, "Confident Learning", 2021). The confident joint counts the rows by their label and
    this prediction; rows for which the two differ are off its diagonal.
    """
    row_probabilities = probabilities[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.bincount(labels, weights=row_probabilities, minlength=probabilities.shape[1])
    # A label without rows has no threshold to reach.
    thresholds = np.divide(sums, counts, out=np.full(len(sums), np.inf), where=counts > 0)
    reached = probabilities >= thresholds
    likeliest = np.where(reached, probabilities, -1).argmax(axis=1)
    return np.where(reached.any(axis=1), likeliest, labels)


def write_suspects(path: Path, suspects: Sequence[Suspect], split_starts: Ints) -> None:
    """Write a JSON line for each suspect: its split, its row in the split, and what is suspected.

    ``split_starts`` is the row of the first message of each split.
    """
    with file_written_whole(path) as scratch, scratch.open("w", encoding="utf-8") as stream:
        for suspect in suspects:
            split = int(np.searchsorted(split_starts, suspect.row, side="right")) - 1
            record = {"split": SPLITS[split], **asdict(suspect)}
            record["row"] = suspect.row - int(split_starts[split])
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def search_prepared(folder: Path, *, folds: int = 5, seed: int = 42) -> Path:
    """Write ``label_errors.jsonl`` into a prepared folder and return its path.

    All splits are searched together; the folder's manifest names the file and the number of
    suspects. Memory holds all texts and their features.

    Raises:
        UserError: if the folder was not prepared, or has fewer campaigns than folds.
    """
    label_map = LabelMap.load(folder / "labels.json")
    tables = [load_split(folder, split) for split in SPLITS]
    texts = [text for table in tables for text in table["text"]]
    labels = np.array([label_map.label2id[label] for table in tables for label in table["label"]])
    groups = np.array([group for table in tables for group in table["group"]])
    suspects = find_label_errors(texts, labels, groups, label_map.names, folds=folds, seed=seed)
    path = folder / "label_errors.jsonl"
    write_suspects(path, suspects, np.cumsum([0, *(len(table) for table in tables[:-1])]))
    label_errors = SuspectedLabels(file=path.name, suspects=len(suspects))
    preparation = load_preparation(folder).model_copy(update={"label_errors": label_errors})
    write_json(folder / MANIFEST, preparation.to_json())
    logger.info("%d of %d messages may have a wrong label: %s", len(suspects), len(texts), path)
    return path


def _searchable_rows(labels: Ints, groups: Ints, names: Sequence[str], folds: int) -> Ints:
    """Return the rows whose label has at least a group for each fold; warn of the other labels."""
    few = [
        label
        for label in np.unique(labels).tolist()
        if len(np.unique(groups[labels == label])) < folds
    ]
    if few:
        logger.warning(
            "warning: labels with fewer than %d campaigns are not searched for errors: %s",
            folds,
            list_names(names[label] for label in few),
        )
    return np.flatnonzero(~np.isin(labels, few))


def _out_of_fold_scores(
    texts: Sequence[str], labels: Ints, groups: Ints, folds: int, seed: int
) -> Floats:
    """Return the baseline's score of each label for each text, fitted on the other folds.

    A label that the other folds do not have scores ``ABSENT``.
    """
    fold_of_row = kfold_by_group(groups, labels, folds=folds, seed=seed)
    count = int(labels.max()) + 1
    scores = np.full((len(texts), count), ABSENT)
    for fold in range(folds):
        inside, outside = np.flatnonzero(fold_of_row == fold), np.flatnonzero(fold_of_row != fold)
        if not len(inside):
            continue
        try:
            linear = fit_linear(
                [texts[row] for row in outside.tolist()],
                labels[outside],
                count,
                groups=groups[outside],
                min_campaigns=_MIN_CAMPAIGNS,
            )
        except ValueError as error:
            # The other folds have one label only, or no two campaigns share a character.
            logger.warning("warning: fold %d is not searched for label errors: %s", fold, error)
            continue
        scores[inside] = linear.scores([texts[row] for row in inside.tolist()])
    return scores


def _probabilities(scores: Floats, labels: Ints) -> Floats:
    """Return the softmax of the scores at the temperature that fits the labels best."""

    def loss(log_temperature: float) -> float:
        logs = log_softmax(scores / np.exp(log_temperature), axis=1)
        return float(-logs[np.arange(len(labels)), labels].mean())

    best = minimize_scalar(loss, bounds=(-4, 4), method="bounded")
    probabilities: Floats = np.exp(log_softmax(scores / np.exp(best.x), axis=1))
    return probabilities
