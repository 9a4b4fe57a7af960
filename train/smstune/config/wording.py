"""Rewords pydantic's errors so that they say how to fix them."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

# A few YAML aliases can expand to a list of millions.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlong = 40


def explain(error: ValidationError, model: type[BaseModel], parents: Sequence[str] = ()) -> str:
    """Return every problem of ``error``, each with the path of its key.

    ``model`` is the validated class, used to suggest keys; ``parents`` are the keys above it.
    """
    return "; ".join(_explain(problem, model, parents) for problem in error.errors())


def _explain(problem: Mapping[str, Any], model: type[BaseModel], parents: Sequence[str]) -> str:
    location = [str(key) for key in problem["loc"]]
    key = ".".join([*parents, *location])
    if problem["type"] == "missing":
        return f"{key}: expected a value, found none: add it"
    if problem["type"] == "extra_forbidden":
        keys = _known_keys(model, location[:-1])
        near = difflib.get_close_matches(location[-1], keys, n=1, cutoff=0.5)
        meant = ".".join([*parents, *location[:-1], *near])
        hint = f"did you mean {meant}?" if near else f"expected {', '.join(keys)}"
        return f"{key}: unknown key: {hint}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    if isinstance(problem["input"], (Mapping, BaseModel)):
        # The error is about several keys; the value found would be the whole section.
        return f"{key}: {message}" if key else message
    advice = ""
    if problem["type"] == "string_type" and isinstance(problem["input"], (int, float)):
        advice = ": put it in quotes"
    return f"{key}: {message}, found {_SHORT.repr(problem['input'])}{advice}"


def _known_keys(model: type[BaseModel], location: Iterable[str]) -> list[str]:
    for key in location:
        # Keys of a mapping and positions in a list are not fields.
        if key in model.model_fields:
            model = _section_of(model.model_fields[key].annotation)
    return list(model.model_fields)


def _section_of(annotation: Any) -> type[BaseModel]:  # noqa: ANN401
    """Return the section class inside ``X | None``, ``list[X]`` or ``dict[str, X]``."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(arg for arg in get_args(annotation) if arg is not type(None))
    if get_origin(annotation) in (list, dict):
        annotation = get_args(annotation)[-1]
    return annotation  # type: ignore[no-any-return]
