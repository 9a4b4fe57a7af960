"""Which tokens an answer rests on: integrated gradients, and a check by taking tokens away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from smstune.arrays import Floats
from smstune.evaluation.evaluated import EvaluatedSet
from smstune.evaluation.mistakes.mistakes import review_order
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import with_early_answers
from smstune.inference.tokenization import pad
from smstune.language import Message
from smstune.results import Result
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


@dataclass(frozen=True)
class Piece:
    """A part of a message and its attribution; ``None`` where no token that was read covers it."""

    text: str
    score: float | None


class ExplainedAnswer(Result):
    """The explanation of an answer of an evaluation, as ``metrics.json`` holds it.

    ``kind`` is ``mistake`` or ``uncertain hit``, ``label`` the answer that is explained; the other
    fields are those of ``Explanation`` and the two areas of ``deletion_areas``.
    """

    kind: str
    true_label: str
    label: str
    probability: float
    log_odds: float
    baseline: float
    deletion_area: float
    random_area: float
    pieces: list[tuple[str, float | None]]


@dataclass(frozen=True)
class Explanation:
    """What the answer ``label`` rests on.

    ``log_odds`` are the log-odds in nats of the label's calibrated ``probability``, ``baseline``
    those of the message with all tokens replaced by padding. The pieces make up ``text``, the
    message as the model reads it, personal information masked; their scores add up to
    ``log_odds - baseline``. ``token_ids`` and ``token_scores`` are of the whole input, special
    tokens included.
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
    is_exact = classifier.precision == "fp32" and classifier.device == "cpu"
    if is_exact and classifier.backend.name == "torch":
        return classifier
    path = classifier.run.path
    exact = SmsClassifier.from_pretrained(path, backend="torch", device="cpu", precision="fp32")
    # An exported form has a cascade of its own.
    return exact.with_manifest(classifier.run.manifest)


def explain(classifier: SmsClassifier, text: str, label: str | None = None) -> Explanation:
    """Return what ``label``, by default the run's answer, rests on in ``text``.

    Integrated gradients of the log-odds over the word embeddings (Sundararajan, Taly and Yan,
    "Axiomatic Attribution for Deep Networks", ICML 2017), from the same message with the padding
    token in place of every token but the special ones. Log-odds rather than the
    probability, which is flat except for one step that 64 points miss: its attributions were off by
    5 % in sum, those of the log-odds by 0.1 %. The linear model's scores are interpolated in the
    same way, from those of an empty message; their contribution is divided among the characters of
    the n-grams. An early answer rests on them alone. Computed in fp32 on the CPU. To explain many
    messages, pass the result of ``in_fp32``, so that the model is loaded once.

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
    run = exact.run
    ids, spans = run.encoder.encode_with_spans(clean[0])
    blank = [
        run.encoder.padding.token_id if start < end else token_id
        for token_id, (start, end) in zip(ids, spans, strict=True)
    ]
    model: Any = exact.model
    with torch.no_grad():
        message, base = model.get_input_embeddings()(torch.tensor([ids, blank])).split(1)
    factors = _factors(exact, clean[0])
    linear = torch.tensor(factors.linear * exact.linear_scores([clean[0], ""]), dtype=torch.float32)
    message_linear, base_linear = linear[:1], linear[1:]

    def log_odds(embeddings: torch.Tensor, joined: torch.Tensor) -> torch.Tensor:
        logits = factors.encoder * model(inputs_embeds=embeddings).logits + joined
        logits = logits / factors.temperature
        rest = torch.cat([logits[:, :target], logits[:, target + 1 :]], -1)
        odds: torch.Tensor = logits[:, target] - rest.logsumexp(-1)
        return odds

    slopes, linear_slopes = IntegratedGradients(log_odds, multiply_by_inputs=False).attribute(
        (message, message_linear),
        (base, base_linear),
        n_steps=STEPS,
        internal_batch_size=_AT_ONCE,
    )
    scores = (slopes * (message - base)).sum(-1)[0].detach().double().numpy()
    with torch.no_grad():
        at_end = float(log_odds(message, message_linear))
        at_start = float(log_odds(base, base_linear))
    characters = None
    if run.linear is not None:
        direction = factors.linear * linear_slopes[0].double().numpy()
        characters = run.linear.character_scores(clean[0], direction)
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
    encoder = exact.run.encoder
    positions = np.array(
        [
            position
            for position, token_id in enumerate(explanation.token_ids)
            if token_id not in encoder.special_ids
        ]
    )
    if not len(positions):
        return explanation.probability, explanation.probability
    rng = np.random.default_rng(_SEED)
    orders = [positions[np.argsort(-explanation.token_scores[positions], kind="stable")]]
    orders += [rng.permutation(positions) for _ in range(_ORDERS)]
    points = min(len(positions), _POINTS)
    cuts = np.linspace(0, len(positions), points + 1).round().astype(int)
    deleted = [order[:cut] for cut in cuts for order in orders]
    rows = [np.delete(explanation.token_ids, tokens).tolist() for tokens in deleted]
    clean = explanation.text
    _, spans = encoder.encode_with_spans(clean)
    texts = [_without(clean, [spans[token] for token in tokens.tolist()]) for tokens in deleted]
    target = exact.labels.label2id[explanation.label]
    curves = _probabilities(exact, rows, texts)[:, target].reshape(len(cuts), len(orders))
    by_score, *at_random = (float(np.trapezoid(curve, cuts / len(positions))) for curve in curves.T)
    return by_score, float(np.mean(at_random))


def explain_errors(
    classifier: SmsClassifier, evaluated: EvaluatedSet, limit: int
) -> list[ExplainedAnswer]:
    """Return explanations of the ``limit`` most confident mistakes and as many least certain hits.

    Copies of a message are explained once.
    """
    exact, names = in_fp32(classifier), classifier.labels.names
    mistakes, hits = review_order(evaluated)
    explained = []
    for kind, order in ((Message("mistake"), mistakes), (Message("uncertain hit"), hits)):
        first_rows: dict[str, int] = {}
        for row in order.tolist():
            first_rows.setdefault(evaluated.texts[row], row)
        for row in list(first_rows.values())[:limit]:
            explanation = explain(exact, evaluated.texts[row], names[evaluated.answers[row]])
            by_score, at_random = deletion_areas(exact, explanation)
            explained.append(
                ExplainedAnswer(
                    kind=kind,
                    true_label=names[evaluated.truth[row]],
                    label=explanation.label,
                    probability=explanation.probability,
                    log_odds=explanation.log_odds,
                    baseline=explanation.baseline,
                    deletion_area=by_score,
                    random_area=at_random,
                    pieces=[(piece.text, piece.score) for piece in explanation.pieces],
                )
            )
    return explained


def _probabilities(
    classifier: SmsClassifier, rows: Sequence[Sequence[int]], texts: Sequence[str]
) -> Floats:
    """Return the probabilities for rows of token ids and the texts that the linear model reads."""
    import torch

    padding = classifier.run.encoder.padding
    batches = []
    for start in range(0, len(rows), _AT_ONCE):
        padded = pad(rows[start : start + _AT_ONCE], padding)
        batch = {name: torch.from_numpy(values) for name, values in padded.items()}
        with torch.inference_mode():
            batches.append(classifier.model(**batch).logits.double().numpy())
    calibration, linear = classifier.run.manifest.calibration, classifier.linear_scores(texts)
    full = calibration.full_probabilities(np.concatenate(batches), linear)
    return with_early_answers(full, linear, calibration.cascade)


@dataclass(frozen=True)
class _Factors:
    """What an answer is computed by: ``(encoder * logits + linear * scores) / temperature``."""

    encoder: float
    linear: float
    temperature: float


def _factors(classifier: SmsClassifier, text: str) -> _Factors:
    """Return what the answer to a preprocessed text is computed by: early, or together."""
    calibration = classifier.run.manifest.calibration
    cascade = calibration.cascade
    if cascade is not None and cascade.is_early(classifier.linear_scores([text]))[0]:
        return _Factors(encoder=0.0, linear=1.0, temperature=cascade.temperature)
    return _Factors(
        encoder=1.0, linear=calibration.linear_weight, temperature=calibration.temperature
    )


def _without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    deleted = {position for start, end in spans for position in range(start, end)}
    return "".join(character for position, character in enumerate(text) if position not in deleted)


def _pieces(
    text: str, spans: Sequence[tuple[int, int]], scores: Floats, characters: Floats | None
) -> list[Piece]:
    """Return ``text`` in its order, in a piece for each token and each masked personal datum.

    ``scores`` are of the tokens; ``characters`` are what the linear model adds by character.
    """

    def linear_score(start: int, end: int) -> float | None:
        return None if characters is None else float(characters[start:end].sum())

    placeholders = {(span.start, span.end): f"[{span.type}]" for span in find_pii(text)}
    score_by_span = dict.fromkeys(placeholders, 0.0)
    for (start, end), score in zip(spans, scores.tolist(), strict=True):
        if start == end:
            continue
        masked = (span for span in score_by_span if span[0] < end and start < span[1])
        span = next(masked, (start, end))
        score_by_span[span] = score_by_span.get(span, 0.0) + score
    pieces: list[Piece] = []
    position = 0
    for (start, end), score in sorted(score_by_span.items()):
        if start > position:
            pieces.append(Piece(text[position:start], linear_score(position, start)))
        shown_text = placeholders.get((start, end), text[start:end])
        pieces.append(Piece(shown_text, score + (linear_score(start, end) or 0.0)))
        position = end
    if position < len(text):
        pieces.append(Piece(text[position:], linear_score(position, len(text))))
    return pieces
