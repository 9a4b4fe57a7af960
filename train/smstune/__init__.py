"""smstune: fine-tune a Chinese BERT on labelled marketing and fraud SMS."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smstune.commands.eval import evaluate
    from smstune.commands.finetune import finetune
    from smstune.errors import UserError
    from smstune.inference.classifier import SmsClassifier
    from smstune.inference.labels import LabelMap

__version__ = "0.2.0"
__all__ = ["LabelMap", "SmsClassifier", "UserError", "evaluate", "finetune"]

_HOMES = {
    "LabelMap": "smstune.inference.labels",
    "SmsClassifier": "smstune.inference.classifier",
    "UserError": "smstune.errors",
    "evaluate": "smstune.commands.eval",
    "finetune": "smstune.commands.finetune",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name when it is first used: importing smstune itself costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'smstune' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the public names."""
    return [*__all__, "__version__"]
