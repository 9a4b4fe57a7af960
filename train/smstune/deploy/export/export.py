"""Export of a run to ONNX: written, held against the run by its gate, timed, put in place."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from typing import Any, Literal

import torch

from smstune.config.choices import Precision
from smstune.config.schema import ExportConfig
from smstune.deploy.export.files import blocks, convert, within, write_graph
from smstune.deploy.export.gates import (
    Quality,
    broken,
    check_parity,
    compare_quality,
    layers_to_keep,
    measure_quality,
)
from smstune.deploy.export.report import measure_latency, render_export
from smstune.errors import GateError, UserError, how_to_install
from smstune.evaluation.labelled import Labelled, load_prepared
from smstune.files import file_hash
from smstune.inference.backends.exported import EXPORTED, Export, ExportedFile, load_export
from smstune.inference.backends.onnx_backend import OnnxBackend
from smstune.inference.backends.torch_backend import TorchBackend
from smstune.inference.backends.torch_devices import machine_name, pick_precision
from smstune.inference.classifier import SmsClassifier
from smstune.inference.decision import Calibration
from smstune.inference.manifest import (
    EXPORT,
    EXPORT_REPORT,
    EXPORTED_FILES,
    STAGED,
    WEIGHTS,
    Manifest,
    write_manifest,
)

Format = Literal["onnx", "onnx-int8", "onnx-fp16"]
FORMATS: dict[Format, Precision] = {"onnx": "fp32", "onnx-int8": "int8", "onnx-fp16": "fp16"}
_PACKAGES = ("onnx", "onnxruntime", "onnxscript", "torch", "transformers")
_CPU = torch.device("cpu")
#: Where the forms are made, in the run folder.
_SCRATCH = ".exporting"

logger = logging.getLogger(__name__)


def export_run(run: Path, formats: Sequence[Format], section: ExportConfig) -> list[Path]:
    """Write ``RUN/onnx/``: the onnx file of each format, ``export.json`` and ``report.md``.

    All of ``formats`` or none is put in place, and named in the manifest; formats exported before
    stay. Computes on the CPU,
    fp16 too: what it rounds is rounded there as on a GPU, the products are computed in fp32.
    Returns the paths of the onnx files.

    Raises:
        UserError: if a package is missing, the run or its data do not fit, or a layer of
            ``keep_fp32`` is not there.
        GateError: if a form differs too much from the run: with the numbers, and for int8 and fp16
            the layers that would make it pass if they were kept in fp32.
    """
    _require_packages()
    original = SmsClassifier.from_pretrained(run, backend="torch", device="cpu", precision="fp32")
    # What an export before left that was stopped: ready to be put in place, or half made.
    _move_staged(run, original.artifact.manifest)
    scratch = run / _SCRATCH
    rmtree(scratch, ignore_errors=True)
    (scratch / "onnx").mkdir(parents=True)
    try:
        exporter = _Exporter(original, scratch / "onnx", section)
        made = {EXPORTED[FORMATS[one]]: exporter.export(one) for one in dict.fromkeys(formats)}
        logger.info("measuring speed beside torch")
        latency = exporter.latency()
        made = {name: file.model_copy(update={"latency": latency}) for name, file in made.items()}
        return _put_in_place(original, scratch, made)
    finally:
        rmtree(scratch, ignore_errors=True)


class _Exporter:
    """Makes the forms of one run in a folder of its own, and holds them against it."""

    def __init__(self, original: SmsClassifier, scratch: Path, section: ExportConfig) -> None:
        self.original = original
        self.scratch = scratch
        self.section = section
        self.graph = scratch / EXPORTED["fp32"]
        self.forms: dict[str, SmsClassifier] = {}
        logger.info("writing the graph")
        # These layers are left as they are in every form.
        self.fixed = write_graph(original.model, self.graph)
        self.layers = blocks(self.graph)
        self.parity = check_parity(original, self._load(self.graph, "fp32"), self.texts)

    def export(self, format_: Format) -> ExportedFile:
        """Make one form, pass it through its gate, and describe it (without its speed)."""
        precision, keep = FORMATS[format_], self._kept()
        file = self.scratch / EXPORTED[precision]
        if precision == "fp32":
            gate: dict[str, Any] = {"parity": self.parity}
            keep = []
            calibration = self._own_calibration(file)
        else:
            rows, calibration = self._pass_quality(file, precision, keep)
            gate = {"quality": rows}
        self.forms[f"onnx {precision}"] = self._load(file, precision)
        return ExportedFile(
            format=format_,
            sha256=file_hash(file),
            bytes=file.stat().st_size,
            keep_fp32=keep,
            gate=gate,
            latency={},
            machine=machine_name(_CPU),
            versions={name: version(name) for name in _PACKAGES},
            calibration=calibration,
        )

    def latency(self) -> dict[str, dict[str, float]]:
        """Return the speed of the forms made and of torch, in one run."""
        artifact, best = self.original.artifact, pick_precision(_CPU)
        torch_forms = {"torch fp32": self.original}
        if best != "fp32":
            backend = TorchBackend(artifact, _CPU, best)
            torch_forms[f"torch {best}"] = SmsClassifier(artifact, backend)
        return measure_latency({**torch_forms, **self.forms}, self.texts)

    @cached_property
    def validation(self) -> Labelled:
        """The validation split of the run's own data."""
        return load_prepared(self.original.artifact.manifest, self.original.labels, "validation")

    @cached_property
    def texts(self) -> list[str]:
        """Messages to compute: of the validation split, or of the sample where that is gone."""
        try:
            return self.validation.texts
        except UserError as error:
            logger.warning("warning: parity and speed on the bundled sample: %s", error)
        with files("smstune.data.sample").joinpath("messages.csv").open(encoding="utf-8") as rows:
            return self.original.preprocess([row["text"] for row in csv.DictReader(rows)])

    @cached_property
    def quality(self) -> Quality:
        """What the run itself scores."""
        return measure_quality(self.original, self.validation, own_thresholds=False)

    def _kept(self) -> list[str]:
        keep = sorted({*self.section.keep_fp32})
        unknown = [one for one in keep if not any(within(layer, [one]) for layer in self.layers)]
        if unknown:
            raise UserError(
                f"export.keep_fp32: expected layers of the model ({', '.join(self.layers)}), "
                f"found {', '.join(unknown)}"
            )
        return keep

    def _pass_quality(
        self, file: Path, precision: Precision, keep: list[str]
    ) -> tuple[list[dict[str, Any]], Calibration]:
        quality = self._quality(file, precision, keep)
        rows = compare_quality(self.quality, quality, self.section)
        if not broken(rows):
            return rows, quality.calibration
        logger.info("the %s form does not pass: looking for layers to keep in fp32", precision)
        trial = self.scratch / "trial.onnx"
        others = [layer for layer in self.layers if not within(layer, [*keep, *self.fixed])]
        found = layers_to_keep(
            others,
            lambda layers: self._quality(trial, precision, [*keep, *layers]),
            self.quality,
            self.section,
        )
        raise GateError(
            f"quality gate of {precision}: {broken(rows)}. It passes with these layers in fp32: "
            f"--keep-fp32 {' '.join([*keep, *found])}. Nothing was exported"
        )

    def _quality(self, file: Path, precision: Precision, keep: list[str]) -> Quality:
        convert(self.graph, file, precision, [*keep, *self.fixed])
        return measure_quality(self._load(file, precision), self.validation, own_thresholds=True)

    def _own_calibration(self, file: Path) -> Calibration | None:
        """Return the calibration of the fp32 form; ``None``, the run's, without prepared data."""
        points = self.original.artifact.manifest.calibration.operating_points
        if not any(point.threshold is not None for point in points):
            return None
        try:
            validation = self.validation
        except UserError:
            # As the parity of the sample has said already.
            return None
        form = self._load(file, "fp32")
        return measure_quality(form, validation, own_thresholds=True).calibration

    def _load(self, file: Path, precision: Precision) -> SmsClassifier:
        return SmsClassifier(self.original.artifact, OnnxBackend(file, _CPU, precision))


def _require_packages() -> None:
    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if not find_spec(name)]
    if missing:
        raise UserError(
            f"expected onnx, onnxruntime and onnxscript, found no {' and no '.join(missing)}: "
            f"{how_to_install('onnx')}"
        )


def _put_in_place(
    original: SmsClassifier, scratch: Path, made: dict[str, ExportedFile]
) -> list[Path]:
    """Let the run folder hold the new forms: all of them from the moment its manifest names them.

    Until then they lie beside, whole, where loading finds them from then on (``run_file``); moving
    them to their names comes last.
    """
    run, manifest = original.artifact.path, original.artifact.manifest
    export = Export(
        weights_sha256=manifest.sha256[WEIGHTS], files={**_exported_before(run, manifest), **made}
    )
    (scratch / EXPORT_REPORT).write_text(render_export(run, export), "utf-8")
    (scratch / EXPORT).write_text(export.model_dump_json(indent=2) + "\n", "utf-8")
    pages = (EXPORT_REPORT, EXPORT)
    for path in (scratch / "onnx").iterdir():
        if path.name not in made and f"onnx/{path.name}" not in pages:
            path.unlink()
            continue
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    others = {
        name: digest for name, digest in manifest.sha256.items() if name not in EXPORTED_FILES
    }
    forms = {f"onnx/{name}": file.sha256 for name, file in export.files.items()}
    hashes = {**others, **forms, **{name: file_hash(scratch / name) for name in pages}}
    scratch.rename(run / STAGED)
    _move_staged(run, write_manifest(run, manifest.model_copy(update={"sha256": hashes})))
    return [run / "onnx" / name for name in made]


def _exported_before(run: Path, manifest: Manifest) -> dict[str, ExportedFile]:
    """Return the forms that a run was exported in before and that are still as they were."""
    try:
        export = load_export(run, manifest)
    except UserError as error:
        logger.warning("warning: what was exported before is left out: %s", error)
        return {}
    whole = {}
    for name, file in export.files.items() if export else ():
        path = run / "onnx" / name
        if path.is_file() and file_hash(path) == file.sha256:
            whole[name] = file
        else:
            logger.warning("warning: onnx/%s, exported before, is gone or changed: left out", name)
    return whole


def _move_staged(run: Path, manifest: Manifest) -> None:
    """Move what lies ready and what the manifest names to its place, and remove the rest."""
    for path in (run / STAGED / "onnx").glob("*"):
        name = f"onnx/{path.name}"
        if file_hash(path) == manifest.sha256.get(name):
            (run / "onnx").mkdir(exist_ok=True)
            path.replace(run / name)
    rmtree(run / STAGED, ignore_errors=True)
