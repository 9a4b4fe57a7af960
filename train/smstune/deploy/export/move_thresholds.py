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


def points_before(points: Sequence[OperatingPoint], form: str) -> list[OperatingPoint]:
    """Return the operating points of a form as they were before the last certificates.

    Points that one sheet moved together go back together.

    Raises:
        UserError: if none was certified.
    """
    times = [point.certified.time for point in points if point.certified]
    if not times:
        raise UserError(
            "no threshold of {form} was moved by `smstune recalibrate --certify`: name the form "
            "whose threshold was moved with --backend",
            form=form,
        )
    return [
        point.certified.replaces
        if point.certified and point.certified.time == max(times)
        else point
        for point in points
    ]
