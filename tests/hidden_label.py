"""What a memory adds to a model that does not know a label.

python tests/hidden_label.py RUN PREPARED LABEL [--retrained RUN]

RUN was trained without LABEL, on the other messages of PREPARED; --retrained was trained on all of
them. In each of 20 draws some campaigns of LABEL are reported, one message of each, with the action
block, through `smstune learn`. Prints which share of the label's other messages is stopped, and how
many messages of harmless labels. Stopped is what the memory blocks or the model answers with a
label whose parent is FR or IL.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np

from smstune import SmsClassifier
from smstune.commands.learn import main as learn
from smstune.data.prepared import load_split
from smstune.data.splits.methods import SPLITS
from smstune.inference.memory.folder import MEMORY
from smstune.inference.memory.lookup import Memory
from smstune.inference.memory.store import open_generation

GUARDED = ("FR", "IL")
TAUGHT, DRAWS = (1, 5, 20), 20


def read_messages(prepared: Path, splits=SPLITS):
    """Return texts, labels and campaigns of these splits of a prepared folder."""
    rows = [load_split(prepared, split) for split in splits]
    return tuple(
        np.concatenate([np.array(split[column]) for split in rows])
        for column in ("text", "label", "group")
    )


def is_guarded(names):
    """Return which labels are guarded; labels are named as PARENT:NAME."""
    return np.array([name.split(":")[0] in GUARDED for name in names])


def stopped_by_model(run: Path, texts):
    """Return which messages a run answers with a guarded label."""
    answers = SmsClassifier.from_pretrained(run, device="cpu").predict(texts.tolist())
    return is_guarded([answer.label for answer in answers])


def stopped_by_memory(run: Path, reported, label: str, texts):
    """Teach a run's copy the reported messages, and return which messages it then blocks."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "run"
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("checkpoints", MEMORY))
        reports = Path(folder) / "reports.csv"
        with reports.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label", "action"])
            writer.writerows([text, label, "block"] for text in reported)
        with redirect_stdout(StringIO()):
            status = learn([str(copy), str(reports)])
        if status != 0:
            raise SystemExit("a report was refused")
        memory = Memory(open_generation(copy))
        return np.array([known is not None for known in memory.look_up(texts.tolist())])


def draw_reports(rng, campaigns, n_taught: int):
    """Return a message of each of some campaigns, drawn as often as they have messages."""
    shuffled = rng.permutation(len(campaigns))
    _, firsts = np.unique(campaigns[shuffled], return_index=True)
    return shuffled[np.sort(firsts)[:n_taught]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("prepared", type=Path)
    parser.add_argument("label")
    parser.add_argument("--retrained", type=Path)
    args = parser.parse_args()

    texts, labels, campaigns = read_messages(args.prepared)
    hidden, hidden_campaigns = texts[labels == args.label], campaigns[labels == args.label]
    test_texts, test_labels, _ = read_messages(args.prepared, ["test"])
    harmless = test_texts[~is_guarded(test_labels)]
    by_model = stopped_by_model(args.run, hidden)
    wrong = stopped_by_model(args.run, harmless)
    print(f"{len(hidden):,} messages of {args.label}, {len(harmless):,} harmless ones of test")
    print(f"model alone: {by_model.mean():.3f}, false alarms {wrong.mean():.4f}")
    if args.retrained is not None:
        known = test_texts[test_labels == args.label]
        shares = [stopped_by_model(args.retrained, kind).mean() for kind in (known, harmless)]
        print(f"retrained, on test: {shares[0]:.3f}, false alarms {shares[1]:.4f}")
    # A label that the run has: the memory needs one.
    names = SmsClassifier.from_pretrained(args.run, device="cpu").labels.names
    parent = args.label.split(":")[0]
    label = next(name for name in names if name.startswith(f"{parent}:"))
    for n_taught in TAUGHT:
        rng = np.random.default_rng(0)
        rows = []
        for _ in range(DRAWS):
            reported = draw_reports(rng, hidden_campaigns, n_taught)
            everything = np.concatenate([hidden, harmless])
            known = stopped_by_memory(args.run, hidden[reported], label, everything)
            known, alarms = known[: len(hidden)], known[len(hidden) :]
            rest = ~np.isin(np.arange(len(hidden)), reported)
            same = np.isin(hidden_campaigns, hidden_campaigns[reported])
            row = [alarms.mean(), (alarms | wrong).mean()]
            for chosen in (rest, rest & same, rest & ~same):
                row += [known[chosen].mean(), by_model[chosen].mean()]
                row += [(known | by_model)[chosen].mean()]
            rows.append(row)
        means = np.nanmean(rows, axis=0)
        print(f"{n_taught} reported: false alarms {means[0]:.5f}, with the model {means[1]:.4f}")
        for name, (memory, model, both) in zip(
            ("all others", "same campaigns", "other campaigns"),
            means[2:].reshape(3, 3),
            strict=True,
        ):
            print(f"  {name}: memory {memory:.3f}, model {model:.3f}, both {both:.3f}")


if __name__ == "__main__":
    main()
