"""Labels that are probably wrong, found by cross-validation."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from smstune.arrays import Floats, Ints
from smstune.data.prepared import load_preparation, load_split
from smstune.data.splits.methods import SPLITS, kfold_by_group
from smstune.files import file_written_whole, write_json
from smstune.inference.labels import LabelMap
from smstune.inference.linear import ABSENT, fit_linear
from smstune.text.pii.mask import shown

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suspect:
    """A message that may bear the wrong label: its row, both labels, and their probabilities."""

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
    """Return the messages that probably bear the wrong label, the surest first.

    These are the confident joint's off-diagonal, ranked by normalised margin (the given label's
    probability less the likely one's), as far as it is negative: where the given label is still
    the likelier one it is mostly right (of 301 such rows of FBS with 5 % flipped, 8 were flipped).
    Folds keep campaigns whole, or the copies of a mislabelled message would vouch for it. Labels
    of fewer than ``folds`` groups are neither judged nor suspected: no confidence can be learned
    from so few; a warning names them. Texts come back masked and cut.
    """
    rows = _judgeable(labels, groups, names, folds)
    present, given = np.unique(labels[rows], return_inverse=True)
    if len(present) < 2:
        logger.warning("warning: no search for label errors: fewer than two labels can be judged")
        return []
    scores = _out_of_fold_scores(
        [texts[row] for row in rows.tolist()], given, groups[rows], folds, seed
    )
    # A campaign under two labels can leave a fold without one of them.
    judged = scores[np.arange(len(rows)), given] > ABSENT
    rows, given, scores = rows[judged], given[judged], scores[judged]
    if not len(rows):
        return []
    probabilities = _probabilities(scores, given)
    likely = confident_labels(probabilities, given)
    pair = np.take_along_axis(probabilities, np.stack([given, likely], axis=1), axis=1).round(4)
    margin = pair[:, 0] - pair[:, 1]
    ranked = np.argsort(margin, kind="stable")
    return [
        Suspect(
            row=int(rows[at]),
            given=names[present[given[at]]],
            likely=names[present[likely[at]]],
            given_probability=float(pair[at, 0]),
            likely_probability=float(pair[at, 1]),
            text=shown(texts[int(rows[at])]),
        )
        for at in ranked[margin[ranked] < 0].tolist()
    ]


def confident_labels(probabilities: Floats, given: Ints) -> Ints:
    """Return for each row the label that it is confidently taken for, else the given one.

    A label's threshold is the mean probability that rows bearing it give it; a row counts for the
    likeliest of the labels whose threshold it reaches (equations 1 and 2 of the paper). Rows whose
    label comes out otherwise are off the diagonal of the confident joint.
    """
    own = probabilities[np.arange(len(given)), given]
    counts = np.bincount(given, minlength=probabilities.shape[1])
    sums = np.bincount(given, weights=own, minlength=probabilities.shape[1])
    # A label that no row bears has no threshold to reach.
    thresholds = np.divide(sums, counts, out=np.full(len(sums), np.inf), where=counts > 0)
    reached = probabilities >= thresholds
    likeliest = np.where(reached, probabilities, -1).argmax(axis=1)
    return np.where(reached.any(axis=1), likeliest, given)


def write_suspects(
    path: Path, suspects: Sequence[Suspect], places: Sequence[dict[str, Any]] | None = None
) -> None:
    """Write a JSON line for each suspect; its place, if given, stands in for its row."""
    with file_written_whole(path) as scratch, scratch.open("w", encoding="utf-8") as stream:
        for at, suspect in enumerate(suspects):
            record = asdict(suspect)
            if places is not None:
                del record["row"]
                record = {**places[at], **record}
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")


def search_prepared(folder: Path, *, folds: int = 5, seed: int = 42) -> Path:
    """Write ``label_errors.jsonl`` into a prepared folder and return its path.

    All splits are searched together; each suspect is named by its split and its row therein, and
    the folder's manifest names the file. Memory holds all texts and their features.

    Raises:
        UserError: if the folder was not prepared, or holds fewer campaigns than folds.
    """
    label_map = LabelMap.load(folder / "labels.json")
    tables = [load_split(folder, split) for split in SPLITS]
    texts = [text for table in tables for text in table["text"]]
    labels = np.array([label_map.label2id[label] for table in tables for label in table["label"]])
    groups = np.array([group for table in tables for group in table["group"]])
    suspects = find_label_errors(texts, labels, groups, label_map.names, folds=folds, seed=seed)
    starts = np.cumsum([0, *(len(table) for table in tables)])
    places = []
    for suspect in suspects:
        at = int(np.searchsorted(starts, suspect.row, side="right")) - 1
        places.append({"split": SPLITS[at], "row": suspect.row - int(starts[at])})
    path = folder / "label_errors.jsonl"
    write_suspects(path, suspects, places)
    manifest = load_preparation(folder) | {
        "label_errors": {"file": path.name, "suspects": len(suspects)}
    }
    write_json(folder / "manifest.json", manifest)
    logger.info("%d of %d messages may bear the wrong label: %s", len(suspects), len(texts), path)
    return path


def _judgeable(labels: Ints, groups: Ints, names: Sequence[str], folds: int) -> Ints:
    """Return the rows whose label has a group for each fold; say which labels have not."""
    few = [
        label
        for label in np.unique(labels).tolist()
        if len(np.unique(groups[labels == label])) < folds
    ]
    if few:
        logger.warning(
            "warning: labels with fewer than %d campaigns are not searched for errors: %s",
            folds,
            ", ".join(names[label] for label in few),
        )
    return np.flatnonzero(~np.isin(labels, few))


def _out_of_fold_scores(
    texts: Sequence[str], labels: Ints, groups: Ints, folds: int, seed: int
) -> Floats:
    """Return the baseline's score of each label for each text, from a fit without its fold.

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
            linear = fit_linear([texts[row] for row in outside.tolist()], labels[outside], count)
        except ValueError as error:
            # Of one label alone, or without one character that two messages share.
            logger.warning("warning: fold %d is not searched for label errors: %s", fold, error)
            continue
        scores[inside] = linear.scores([texts[row] for row in inside.tolist()])
    return scores


def _probabilities(scores: Floats, given: Ints) -> Floats:
    """Return the softmax of the scores at the temperature that suits the given labels best."""

    def loss(log_temperature: float) -> float:
        logs = log_softmax(scores / np.exp(log_temperature), axis=1)
        return float(-logs[np.arange(len(given)), given].mean())

    best = minimize_scalar(loss, bounds=(-4, 4), method="bounded")
    probabilities: Floats = np.exp(log_softmax(scores / np.exp(best.x), axis=1))
    return probabilities
