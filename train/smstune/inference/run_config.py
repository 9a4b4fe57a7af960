"""The configuration of a finished run; answers do without, and its schema takes time to import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smstune.config.loading import build_config, load_config
from smstune.config.schema import Config
from smstune.errors import UserError
from smstune.inference.linear import LINEAR
from smstune.inference.manifest import Manifest


def run_config(
    run: Path, manifest: Manifest, section: str, overrides: Sequence[str] = ()
) -> Config:
    """Return a finished run's configuration, but for overrides of keys of ``section``.

    Raises:
        UserError: if an override is of another section.
    """
    for override in overrides:
        if not override.startswith(f"{section}."):
            raise UserError(
                "expected {section}.KEY=VALUE, found {override!r}: nothing else of a "
                "finished run can be changed",
                section=section,
                override=override,
            )
    path = run / "config.yaml"
    if path.is_file():
        return load_config(path, overrides)
    # A published folder leaves out the configuration of its training.
    model = {"linear": LINEAR in manifest.sha256}
    return build_config({"data": {"path": manifest.data.path}, "model": model}, overrides, run)
