"""Moves the operating points of a run, or of one of its exported forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smstune.deploy.export.staging import exported_before, move_staged, stage
from smstune.errors import UserError
from smstune.files import scratch_folder
from smstune.inference.decision import OperatingPoint
from smstune.inference.manifest import Manifest, store_calibration


def store_points(
    run: Path, manifest: Manifest, form: str | None, points: Sequence[OperatingPoint]
) -> Manifest:
    """Give a run, or its exported ``form`` (a file in ``onnx/``), other operating points.

    Those of the run are in ``manifest.json``, those of a form in ``onnx/export.json``. Whichever it
    is, it is changed whole or not at all.

    Raises:
        UserError: if the form is missing or damaged.
    """
    # A stopped export may have left files that are ready to be moved.
    move_staged(run, manifest)
    if form is None:
        calibration = manifest.calibration.model_copy(update={"operating_points": list(points)})
        return store_calibration(run, manifest, calibration)
    files = exported_before(run, manifest)
    if form not in files:
        raise UserError("expected onnx/{form} in {run}: export the run again", form=form, run=run)
    calibration = files[form].calibration or manifest.calibration
    calibration = calibration.model_copy(update={"operating_points": list(points)})
    files[form] = files[form].model_copy(update={"calibration": calibration})
    with scratch_folder(run / "onnx") as scratch:
        (scratch / "onnx").mkdir()
        return stage(run, manifest, scratch, files)


def points_before(points: Sequence[OperatingPoint], run: Path) -> list[OperatingPoint]:
    """Return the operating points as they were before the last certificate of each.

    Raises:
        UserError: if none was certified.
    """
    if not any(point.certified for point in points):
        raise UserError(
            "no threshold of {run} was moved by `smstune recalibrate --certify`: there is nothing "
            "to undo",
            run=run,
        )
    return [point.certified.replaces if point.certified else point for point in points]
