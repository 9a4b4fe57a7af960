"""Which tokens an answer rests on: integrated gradients, and a check by taking tokens away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from smstune.arrays import Floats
from smstune.evaluation.labelled import Judged, Labelled
from smstune.evaluation.mistakes.mistakes import error_order
from smstune.inference.classifier import SmsClassifier
from smstune.inference.tokenization import PaddingCollator, token_spans
from smstune.text.pii.find import find_pii

if TYPE_CHECKING:
    import torch

#: Points of the integral, each a forward and a backward pass.
STEPS = 64
#: Points of a deletion curve, and random orders that it is held against.
_POINTS = 20
_ORDERS = 5
_AT_ONCE = 16
_SEED = 0


class Piece(NamedTuple):
    """A part of a message and its attribution; ``None`` where no token that was read covers it."""

    text: str
    score: float | None


class Explanation(NamedTuple):
    """What the answer ``label`` rests on.

    The pieces make up the message as the model reads it, personal information masked. Their scores
    add up to ``log_odds``, those of the label's calibrated ``probability`` in nats, less
    ``baseline``, the same of the message without tokens. ``token_ids`` and ``token_scores`` are of
    the whole input, special tokens included. ``text`` is the message as the model reads it.
    """

    label: str
    probability: float
    log_odds: float
    baseline: float
    pieces: list[Piece]
    token_ids: list[int]
    token_scores: Floats
    text: str


def in_fp32(classifier: SmsClassifier) -> SmsClassifier:
    """Return the run in torch, fp32, on the CPU: itself, or loaded once more from its folder."""
    exact = classifier.precision == "fp32" and classifier.device.type == "cpu"
    if exact and classifier.backend.name == "torch":
        return classifier
    path = classifier.artifact.path
    return SmsClassifier.from_pretrained(path, backend="torch", device="cpu", precision="fp32")


def explain(classifier: SmsClassifier, text: str, label: str | None = None) -> Explanation:
    """Return what ``label``, by default the run's answer, rests on in ``text``.

    Integrated gradients of the log-odds over the word embeddings (Sundararajan, Taly and Yan,
    "Axiomatic Attribution for Deep Networks", ICML 2017), from the same message with the padding
    token in place of every token but the special ones. Log-odds, since the probability itself is
    flat but for a step that 64 points miss: its scores missed their sum by 5 %, these by 0.1 %.
    A linear model's scores go the same straight way, from those of an empty message, and what they
    add is shared out over the characters of the n-grams that it comes from.
    In fp32 on the CPU: who explains often gives a classifier that is (``in_fp32``).

    Raises:
        UserError: if the run has no such label.
    """
    import torch
    from captum.attr import IntegratedGradients
    from scipy.special import expit

    exact = in_fp32(classifier)
    clean = exact.preprocess([text])
    if label is None:
        label = exact.labels.names[exact.answers(exact.predict_proba(clean, preprocessed=True))[0]]
    (target,) = exact.labels.ids_of([label], "explain")
    artifact = exact.artifact
    ids, spans = token_spans(clean[0], artifact.tokenizer, artifact.manifest.max_length)
    blank = [
        artifact.tokenizer.pad_token_id if start < end else one
        for one, (start, end) in zip(ids, spans, strict=True)
    ]
    model: Any = exact.model
    with torch.no_grad():
        given, base = model.get_input_embeddings()(torch.tensor([ids, blank])).split(1)
    linear = _linear_logits(exact, [clean[0], ""])
    given_linear, base_linear = linear[:1], linear[1:]
    temperature = artifact.manifest.calibration.temperature

    def log_odds(embeddings: torch.Tensor, joined: torch.Tensor) -> torch.Tensor:
        logits = (model(inputs_embeds=embeddings).logits + joined) / temperature
        rest = torch.cat([logits[:, :target], logits[:, target + 1 :]], -1)
        odds: torch.Tensor = logits[:, target] - rest.logsumexp(-1)
        return odds

    slopes, linear_slopes = IntegratedGradients(log_odds, multiply_by_inputs=False).attribute(
        (given, given_linear),
        (base, base_linear),
        n_steps=STEPS,
        internal_batch_size=_AT_ONCE,
    )
    scores = (slopes * (given - base)).sum(-1)[0].detach().double().numpy()
    with torch.no_grad():
        at_end = float(log_odds(given, given_linear))
        at_start = float(log_odds(base, base_linear))
    characters = None
    if artifact.linear is not None:
        direction = artifact.manifest.calibration.linear_weight * linear_slopes[0].double().numpy()
        characters = artifact.linear.character_scores(clean[0], direction)
    pieces = _pieces(clean[0], spans, scores, characters)
    if characters is not None:
        scores += [characters[start:end].sum() for start, end in spans]
    return Explanation(label, float(expit(at_end)), at_end, at_start, pieces, ids, scores, clean[0])


def deletion_areas(classifier: SmsClassifier, explanation: Explanation) -> tuple[float, float]:
    """Return (area deleting by attribution, area deleting at random), each from 0 to 1.

    A good attribution has the smaller first.

    A curve is the probability of the label over the share of tokens taken out of the message: the
    highest attribution first, and at random (the mean of five orders). After Petsiuk, Das and
    Saenko, "RISE", BMVC 2018. Both are the probability itself where there is no token.
    """
    exact = in_fp32(classifier)
    tokenizer = exact.artifact.tokenizer
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    places = np.array([at for at, one in enumerate(explanation.token_ids) if one not in special])
    if not len(places):
        return explanation.probability, explanation.probability
    rng = np.random.default_rng(_SEED)
    orders = [places[np.argsort(-explanation.token_scores[places], kind="stable")]]
    orders += [rng.permutation(places) for _ in range(_ORDERS)]
    points = min(len(places), _POINTS)
    cuts = np.linspace(0, len(places), points + 1).round().astype(int)
    taken = [order[:cut] for cut in cuts for order in orders]
    rows = [np.delete(explanation.token_ids, gone).tolist() for gone in taken]
    clean = explanation.text
    _, spans = token_spans(clean, tokenizer, exact.artifact.manifest.max_length)
    texts = [_without(clean, [spans[at] for at in gone.tolist()]) for gone in taken]
    target = exact.labels.label2id[explanation.label]
    curves = _probabilities(exact, rows, texts)[:, target].reshape(len(cuts), len(orders))
    by_score, *at_random = (float(np.trapezoid(curve, cuts / len(places))) for curve in curves.T)
    return by_score, float(np.mean(at_random))


def explain_errors(
    classifier: SmsClassifier, labelled: Labelled, judged: Judged, most: int
) -> list[dict[str, Any]]:
    """Return explanations of the ``most`` most confident mistakes and as many least certain hits.

    Copies of a message are explained once. Each has ``kind``, the ``true_label``, the answered
    ``label`` that is explained, its ``probability``, ``log_odds``, ``baseline``, the ``pieces``
    with their scores, and ``deletion_area`` beside ``random_area``.
    """
    exact, names = in_fp32(classifier), classifier.labels.names
    wrong, hits = error_order(judged)
    rows = []
    for kind, order in (("mistake", wrong), ("uncertain hit", hits)):
        first: dict[str, int] = {}
        for at in order.tolist():
            first.setdefault(labelled.texts[at], at)
        for at in list(first.values())[:most]:
            found = explain(exact, labelled.texts[at], names[judged.predicted[at]])
            by_score, at_random = deletion_areas(exact, found)
            rows.append(
                {
                    "kind": kind,
                    "true_label": names[judged.truth[at]],
                    "label": found.label,
                    "probability": found.probability,
                    "log_odds": found.log_odds,
                    "baseline": found.baseline,
                    "deletion_area": by_score,
                    "random_area": at_random,
                    "pieces": [list(piece) for piece in found.pieces],
                }
            )
    return rows


def _probabilities(
    classifier: SmsClassifier, rows: Sequence[Sequence[int]], texts: Sequence[str]
) -> Floats:
    """Return the answers to tokens, as the encoder reads them, and ``texts``, as the other does."""
    import torch

    collate = PaddingCollator(classifier.artifact.tokenizer, "cpu")
    temperature = classifier.artifact.manifest.calibration.temperature
    parts = []
    for start in range(0, len(rows), _AT_ONCE):
        batch = collate([{"input_ids": row} for row in rows[start : start + _AT_ONCE]])
        linear = _linear_logits(classifier, texts[start : start + _AT_ONCE])
        with torch.inference_mode():
            logits = classifier.model(**batch).logits + linear
            parts.append(torch.softmax(logits / temperature, -1).double().numpy())
    return np.concatenate(parts)


def _linear_logits(classifier: SmsClassifier, texts: Sequence[str]) -> torch.Tensor:
    import torch

    weight = classifier.artifact.manifest.calibration.linear_weight
    return torch.tensor(weight * classifier.linear_scores(texts), dtype=torch.float32)


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    taken = {at for start, end in spans for at in range(start, end)}
    return "".join(character for at, character in enumerate(text) if at not in taken)


def _pieces(
    text: str, spans: Sequence[tuple[int, int]], scores: Floats, characters: Floats | None
) -> list[Piece]:
    """Return ``text`` in pieces, one a token or a find of personal information, in its order.

    ``scores`` are of the tokens, ``characters`` what each character adds besides.
    """

    def added(start: int, end: int) -> float | None:
        return None if characters is None else float(characters[start:end].sum())

    shown = {(start, end): f"[{kind}]" for start, end, kind in find_pii(text)}
    sums = dict.fromkeys(shown, 0.0)
    for (start, end), score in zip(spans, scores.tolist(), strict=True):
        if start == end:
            continue
        over = next((span for span in sums if span[0] < end and start < span[1]), (start, end))
        sums[over] = sums.get(over, 0.0) + score
    pieces, at = [], 0
    for (start, end), score in sorted(sums.items()):
        if start > at:
            pieces.append(Piece(text[at:start], added(at, start)))
        score += added(start, end) or 0.0
        pieces.append(Piece(shown.get((start, end), text[start:end]), score))
        at = end
    return pieces if at == len(text) else [*pieces, Piece(text[at:], added(at, len(text)))]
