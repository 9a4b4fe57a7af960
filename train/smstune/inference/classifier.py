"""SmsClassifier: the one inference path, from text to label."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from smstune.config.choices import BackendChoice, DeviceChoice, PrecisionChoice
from smstune.errors import UserError, is_out_of_memory
from smstune.inference.backends.exported import exported_form
from smstune.inference.backends.pick import pick_backend, pick_run_device
from smstune.inference.decision import Decision, biased_labels, decide, with_early_answers
from smstune.inference.fetch import local_folder
from smstune.inference.labels import LabelMap
from smstune.inference.manifest import WEIGHTS, Manifest, load_manifest
from smstune.inference.memory.entries import KnownCampaign
from smstune.inference.memory.folder import memory_stamp
from smstune.inference.run import Run, load_run
from smstune.inference.tokenization import Batch, pad
from smstune.language import Message
from smstune.text.normalize import MAX_CHARACTERS

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from smstune.inference.backends.pick import Backend
    from smstune.inference.memory.lookup import Memory
    from smstune.progress import Progress

#: Tokens of a batch, with padding: as many as fit a CPU's cache, or as many as keep a GPU busy.
_TOKEN_BUDGET = {"cpu": 2048, "cuda": 65536}


@dataclass(frozen=True)
class Prediction:
    """The answer for one message.

    ``score`` is the probability of ``label``. ``decision`` is ``block``, ``review`` or ``pass``, or
    ``None`` where the run has no operating point to decide by. ``note`` says what was odd about
    the message, if anything. ``text`` is the message as the model reads it. ``campaign`` is what
    the run's memory knows of the message, if anything: then label and decision are the campaign's,
    and the probabilities are still the model's.
    """

    label: str
    score: float
    scores: dict[str, float]
    note: str | None
    decision: Decision | None = None
    text: str | None = None
    campaign: KnownCampaign | None = None


class SmsClassifier:
    """A fine-tuned classifier that takes raw messages.

    Normalises, masks and tokenises as in training, scores identical messages once and messages of
    similar length together, and returns calibrated probabilities.
    """

    def __init__(self, run: Run, backend: Backend) -> None:
        self.run = run
        self.backend = backend
        # Another run may take this one's name while this one is served.
        self._folder = run.path.resolve()
        self._memory: Memory | None = None
        self._memory_stamp: tuple[int, ...] | None = None
        self._looks_for_memory = True
        self.precision = backend.precision
        self.device = backend.device

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        revision: str | None = None,
        backend: BackendChoice = "auto",
        device: DeviceChoice = "auto",
        precision: PrecisionChoice = "auto",
    ) -> SmsClassifier:
        """Load a run folder, or by ``ORG/NAME`` a repository of the hub, at ``revision``.

        ``backend`` says what computes the logits: ``torch``, ``onnx`` (an exported form), or the
        faster of what lies in the folder (``pick_backend``).

        Raises:
            UserError: if its parts do not belong together or the device is not there.
        """
        folder = local_folder(path, revision, backend=backend, device=device, precision=precision)
        return cls.from_run(
            folder, load_manifest(folder), backend=backend, device=device, precision=precision
        )

    @classmethod
    def from_run(
        cls,
        path: Path,
        manifest: Manifest,
        *,
        backend: BackendChoice = "auto",
        device: DeviceChoice = "auto",
        precision: PrecisionChoice = "auto",
    ) -> SmsClassifier:
        """Load a run folder whose manifest was read before; otherwise as ``from_pretrained``.

        Raises:
            UserError: if its parts do not belong together or the device is not there.
        """
        device_name = pick_run_device(device)
        has_weights = (path / WEIGHTS).is_file()
        name, number_format = pick_backend(
            path, manifest, device_name, backend, precision, has_weights=has_weights
        )
        run = load_run(path, manifest=manifest, weights=name == "torch")
        if name == "torch":
            import torch

            from smstune.inference.backends.torch_backend import TorchBackend

            torch_backend = TorchBackend.load(path, torch.device(device_name), number_format)
            return cls(run, torch_backend)
        from smstune.inference.backends.onnx_backend import OnnxBackend

        file, calibration = exported_form(path, manifest, number_format)
        manifest = manifest.model_copy(update={"calibration": calibration})
        run = dataclasses.replace(run, manifest=manifest)
        return cls(run, OnnxBackend(file, device_name, number_format))

    @property
    def memory(self) -> Memory | None:
        """What the run has learned from reports, ``None`` if nothing.

        Opened when it is first needed, and held: probabilities do without it.

        Raises:
            UserError: if it is broken.
        """
        if self._looks_for_memory:
            self.refresh_memory()
        return self._memory

    def refresh_memory(self) -> None:
        """Open the run's memory if there is another generation than at the last call.

        Each is tried once, and the one held is kept if the new one cannot be opened.

        Raises:
            UserError: if it is broken.
        """
        self._looks_for_memory = False
        stamp = memory_stamp(self._folder)
        if stamp in (None, self._memory_stamp):
            return
        self._memory_stamp = stamp
        # Imported here: most runs have no memory, and answers do without its packages.
        from smstune.inference.memory.lookup import open_memory

        self._memory = open_memory(self._folder, self.labels)

    def with_manifest(self, manifest: Manifest) -> SmsClassifier:
        """Return the same model under another manifest, such as one of a new calibration.

        It has no memory: only the model is evaluated.
        """
        classifier = SmsClassifier(dataclasses.replace(self.run, manifest=manifest), self.backend)
        classifier._looks_for_memory = False
        return classifier

    def without_cascade(self) -> SmsClassifier:
        """Return the same model, with every message answered by encoder and linear model."""
        manifest = self.run.manifest
        calibration = manifest.calibration.model_copy(update={"cascade": None})
        return self.with_manifest(manifest.model_copy(update={"calibration": calibration}))

    @property
    def model(self) -> PreTrainedModel:
        """The torch model.

        Raises:
            UserError: if the backend is another.
        """
        if self.backend.name == "torch":
            return self.backend.model
        raise UserError("expected the backend torch, found onnx: load with backend='torch'")

    @property
    def labels(self) -> LabelMap:
        """The labels in the order of the probabilities."""
        return self.run.labels

    def predict_proba(
        self,
        texts: Sequence[str],
        *,
        preprocessed: bool = False,
        progress: Progress | None = None,
    ) -> NDArray[np.float64]:
        """Return calibrated probabilities, shape ``(messages, labels)``, in the order of ``texts``.

        Those of a message that the linear model is sure of are its own if the run has a cascade.
        The likeliest label is not always the run's answer: see ``answers``. With
        ``preprocessed=True``, the texts are not preprocessed again (used to measure the effect of
        ``preprocess``). ``progress`` counts the distinct messages.
        """
        if not len(texts):
            return np.zeros((0, len(self.labels.names)))
        calibration = self.run.manifest.calibration
        clean = list(texts) if preprocessed else self.preprocess(texts)
        distinct = list(dict.fromkeys(clean))
        position = {text: index for index, text in enumerate(distinct)}
        linear = self.linear_scores(distinct)
        early = calibration.is_early(linear)
        # The encoder reads only what the linear model does not answer alone.
        logits = np.zeros_like(linear)
        unsure = np.flatnonzero(~early).tolist()
        if progress is not None:
            progress.update(len(distinct) - len(unsure))
        if unsure:
            logits[unsure] = self.encoder_logits([distinct[row] for row in unsure], progress)
        full = calibration.full_probabilities(logits, linear)
        probabilities = with_early_answers(full, linear, calibration.cascade)
        return probabilities[[position[text] for text in clean]]

    def parts(
        self, texts: Sequence[str], progress: Progress | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the encoder's logits and the linear model's scores of preprocessed ``texts``.

        Both of shape ``(messages, labels)``, of every message, whichever a cascade answers early.

        Raises:
            UserError: if the encoder gives NaN or infinity.
        """
        return self.encoder_logits(texts, progress), self.linear_scores(texts)

    def joined_logits(
        self, texts: Sequence[str], progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """Return the logits of encoder and linear model together, of preprocessed ``texts``.

        Shape ``(messages, labels)``; uncalibrated: without temperature, label bias and cascade.

        Raises:
            UserError: if the encoder gives NaN or infinity.
        """
        logits, linear = self.parts(texts, progress)
        return self.run.manifest.calibration.joined_logits(logits, linear)

    def encoder_logits(
        self, texts: Sequence[str], progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """Return the encoder's logits of preprocessed ``texts``, shape ``(messages, labels)``.

        Raises:
            UserError: if the encoder gives NaN or infinity.
        """
        logits = self._score(texts, progress)
        if not np.isfinite(logits).all():
            raise UserError(
                "expected finite scores, found NaN or infinity from {path}: the "
                "model diverged, train again with a lower learning rate",
                path=self.run.path,
            )
        return logits

    def linear_scores(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Return what the linear model gives preprocessed ``texts``; 0 where the run has none."""
        if self.run.linear is None:
            return np.zeros((len(texts), len(self.labels.names)))
        return self.run.linear.scores(texts)

    def answered_early(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Return which preprocessed ``texts`` the linear model answers alone; none by default."""
        calibration = self.run.manifest.calibration
        if calibration.cascade is None:
            return np.zeros(len(texts), dtype=bool)
        return calibration.is_early(self.linear_scores(texts))

    def answers(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the label id that the run answers for each row of ``predict_proba``."""
        return biased_labels(probabilities, self.run.manifest.calibration.label_bias)

    def preprocess(self, texts: Sequence[str]) -> list[str]:
        """Return ``texts`` as the model reads them: cut, normalised, masked as in training."""
        options = self.run.manifest.text
        return [options.preprocess(text[:MAX_CHARACTERS]) for text in texts]

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Return the label of each message, its probability, all probabilities, and a note.

        An empty message is answered and marked; one longer than an SMS can be is cut and marked.
        """
        clean = self.preprocess(texts)
        probabilities = self.predict_proba(clean, preprocessed=True)
        predictions = self.predictions(texts, probabilities, clean)
        pairs = zip(predictions, clean, strict=True)
        return [dataclasses.replace(prediction, text=text) for prediction, text in pairs]

    def predictions(
        self,
        texts: Sequence[str],
        probabilities: NDArray[np.float64],
        clean: Sequence[str] | None = None,
    ) -> list[Prediction]:
        """Return the predictions for probabilities already computed; ``text`` is not set.

        ``clean`` are the texts after ``preprocess``, if they are at hand.
        """
        calibration = self.run.manifest.calibration
        decisions = decide(probabilities, calibration.operating_points, self.labels)
        predictions = [
            self._prediction(text, row, best, decision)
            for text, row, best, decision in zip(
                texts, probabilities, self.answers(probabilities).tolist(), decisions, strict=True
            )
        ]
        memory = self.memory
        if memory is None:
            return predictions
        clean = self.preprocess(texts) if clean is None else clean
        campaigns = memory.look_up(list(map(self.run.manifest.text.masked, clean)))
        pairs = zip(predictions, campaigns, strict=True)
        return [
            prediction if campaign is None else self._overruled(prediction, campaign)
            for prediction, campaign in pairs
        ]

    def _prediction(
        self, text: str, row: NDArray[np.float64], best: int, decision: Decision | None
    ) -> Prediction:
        names = self.labels.names
        return Prediction(
            label=names[best],
            score=float(row[best]),
            scores=dict(zip(names, row.tolist(), strict=True)),
            note=_note(text),
            decision=decision,
        )

    def _overruled(self, prediction: Prediction, campaign: KnownCampaign) -> Prediction:
        """Return the answer for a message of a remembered campaign."""
        decision: Decision | None
        if campaign.action is None:
            # As if the model were sure of the campaign's label.
            certain = np.eye(len(self.labels.names))[[self.labels.label2id[campaign.label]]]
            points = self.run.manifest.calibration.operating_points
            (decision,) = decide(certain, points, self.labels)
        else:
            decision = "pass" if campaign.action == "allow" else "block"
        return dataclasses.replace(
            prediction,
            label=campaign.label,
            score=prediction.scores[campaign.label],
            decision=decision,
            campaign=campaign,
        )

    def _score(self, texts: Sequence[str], progress: Progress | None = None) -> NDArray[np.float64]:
        ids = self.run.encoder.encode(texts)
        logits = np.empty((len(ids), len(self.labels.names)))
        # Longest first also where each is computed alone: the threads then end together.
        budget = 1 if self.backend.one_by_one else _TOKEN_BUDGET[self.device]
        batches = list(_batches([len(row) for row in ids], budget))
        padded = (self._padded([ids[row] for row in rows]) for rows in batches)
        try:
            for rows, logits_of_batch in zip(batches, self.backend.run(padded), strict=True):
                logits[rows] = logits_of_batch
                if progress is not None:
                    progress.update(len(rows))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            size = (
                Message("one message at a time")
                if budget == 1
                else Message("batches of {budget} tokens", budget=budget)
            )
            raise UserError(
                "out of memory, scoring {size} on {device}: use fewer --workers, a smaller "
                "form (`smstune export RUN --format onnx-int8`), or another --device; a model "
                "trained with a smaller data.max_length needs less",
                size=size,
                device=self.device,
            ) from error
        return logits

    def _padded(self, rows: Sequence[list[int]]) -> Batch:
        return pad(rows, self.run.encoder.padding, multiple=8 if self.device == "cuda" else 1)


def _batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Yield rows of similar length, longest first, each batch within ``budget`` tokens."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        size = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size


def _note(text: str) -> str | None:
    if not text.strip():
        return Message("empty message")
    if len(text) > MAX_CHARACTERS:
        return Message("cut to {max_characters} characters", max_characters=MAX_CHARACTERS)
    return None
