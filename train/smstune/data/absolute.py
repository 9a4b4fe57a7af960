"""A configuration that finds its data from any folder."""

from __future__ import annotations

from smstune.config.schema import Config
from smstune.data.readers.catalogue import absolute_input


def with_absolute_data(config: Config) -> Config:
    """Return the configuration with absolute paths of its data, teacher and unlabelled messages."""
    update: dict[str, object] = {
        "data": config.data.model_copy(update={"path": config.data.path.resolve()})
    }
    distillation = config.distillation
    if distillation is not None:
        paths = {
            "teacher": distillation.teacher.resolve(),
            "unlabelled": [absolute_input(text) for text in distillation.unlabelled],
        }
        update["distillation"] = distillation.model_copy(update=paths)
    return config.model_copy(update=update)
