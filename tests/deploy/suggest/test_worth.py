"""Whether suggested messages teach more than random ones, on real messages with hidden labels."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from doors import ROOT, SHARED, run
from sklearn.metrics import f1_score

from smstune.campaigns.grouping import campaign_groups
from smstune.deploy.suggest.choose import choose
from smstune.modeling.fit_linear import fit_linear

FBS = SHARED / "data/FBS_SMS_Dataset"
START, STEP, STEPS = 200, 100, 5


def softmax(scores):
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def learning_curve(train, test, n_labels, seed, *, suggested):
    """Return macro-F1 after the first labelled messages and after each further hundred."""
    texts, labels, campaigns = train
    rng = np.random.default_rng(seed)
    labelled = rng.permutation(len(texts))[:START]
    curve = []
    for _ in range(STEPS + 1):
        model = fit_linear(
            [texts[row] for row in labelled], labels[labelled], n_labels, campaigns[labelled], 1
        )
        answers = model.scores(test[0]).argmax(1)
        curve.append(f1_score(test[1], answers, average="macro"))
        pool = np.setdiff1d(np.arange(len(texts)), labelled)
        if suggested:
            pool_texts = [texts[row] for row in pool]
            probabilities = softmax(model.scores(pool_texts))
            chosen = pool[choose(pool_texts, probabilities, campaigns[pool], STEP, seed)]
        else:
            chosen = rng.permutation(pool)[:STEP]
        labelled = np.concatenate([labelled, chosen])
    return curve


@pytest.mark.slow
@pytest.mark.skipif(not FBS.is_dir(), reason="needs ../shared")
def test_suggested_messages_teach_more_than_random_ones(tmp_path):
    output = tmp_path / "fbs14"
    label_file = ROOT / "configs/labels/fbs14.yaml"
    assert run("prepare", f"fbs:{FBS}", "--labels", label_file, "--output", output) == 0
    tables = [pq.read_table(output / f"{split}.parquet") for split in ("train", "test")]
    names = sorted(set(tables[0]["label"].to_pylist()))
    ids = [
        np.array([names.index(label) for label in table["label"].to_pylist()]) for table in tables
    ]
    texts = [table["text"].to_pylist() for table in tables]
    train = (texts[0], ids[0], campaign_groups(texts[0]))
    curves = {
        suggested: np.array([
            learning_curve(train, (texts[1], ids[1]), len(names), seed, suggested=suggested)
            for seed in (1, 2, 3)
        ])
        for suggested in (False, True)
    }  # fmt: skip
    for suggested, curve in curves.items():
        print("suggested" if suggested else "random", np.round(curve, 4).tolist())
    assert curves[True][:, -1].mean() > curves[False][:, -1].mean()
