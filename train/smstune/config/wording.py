"""Rewords pydantic's errors so that they say how to fix them."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from smstune.language import Message, joined

# A few YAML aliases can expand to a list of millions.
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 200
_SHORT.maxlong = 40


#: pydantic's messages, by their type. Those of other types stay in English.
_PYDANTIC = {
    "greater_than": Message("input should be greater than {gt}"),
    "greater_than_equal": Message("input should be greater than or equal to {ge}"),
    "less_than": Message("input should be less than {lt}"),
    "less_than_equal": Message("input should be less than or equal to {le}"),
    "finite_number": Message("input should be a finite number"),
    "int_type": Message("input should be a valid integer"),
    "int_parsing": Message("input should be a valid integer"),
    "int_from_float": Message("input should be a valid integer, not a number with a fraction"),
    "float_type": Message("input should be a valid number"),
    "float_parsing": Message("input should be a valid number"),
    "bool_type": Message("input should be true or false"),
    "bool_parsing": Message("input should be true or false"),
    "string_type": Message("input should be a text"),
    "list_type": Message("input should be a list"),
    "tuple_type": Message("input should be a list"),
    "dict_type": Message("input should be a mapping of keys"),
    "model_type": Message("input should be a mapping of keys"),
    "model_attributes_type": Message("input should be a mapping of keys"),
    "literal_error": Message("input should be one of {choices}"),
    "too_short": Message("the list should have at least {min_length} items"),
    "too_long": Message("the list should have at most {max_length} items"),
    "string_too_short": Message("the text should have at least {min_length} characters"),
}


def explain(error: ValidationError, model: type[BaseModel], parents: Sequence[str] = ()) -> Message:
    """Return every problem of ``error``, each with the path of its key.

    ``model`` is the validated class, used to suggest keys; ``parents`` are the keys above it.
    """
    return joined([_explain(problem, model, parents) for problem in error.errors()], "; ")


def _explain(problem: Mapping[str, Any], model: type[BaseModel], parents: Sequence[str]) -> Message:
    location = [str(key) for key in problem["loc"]]
    key = ".".join([*parents, *location])
    if problem["type"] == "missing":
        return Message("{key}: expected a value, found none: add it", key=key)
    if problem["type"] == "extra_forbidden":
        keys = _known_keys(model, location[:-1])
        near = difflib.get_close_matches(location[-1], keys, n=1, cutoff=0.5)
        if not near:
            return Message("{key}: unknown key: expected {keys}", key=key, keys=", ".join(keys))
        meant = ".".join([*parents, *location[:-1], *near])
        return Message("{key}: unknown key: did you mean {meant}?", key=key, meant=meant)
    message = _message(problem)
    if isinstance(problem["input"], (Mapping, BaseModel)):
        # The error is about several keys; the value found would be the whole section.
        return Message("{key}: {message}", key=key, message=message) if key else message
    found = _SHORT.repr(problem["input"])
    if problem["type"] == "string_type" and isinstance(problem["input"], (int, float)):
        return Message(
            "{key}: {message}, found {found}: put it in quotes",
            key=key,
            message=message,
            found=found,
        )
    return Message("{key}: {message}, found {found}", key=key, message=message, found=found)


def _message(problem: Mapping[str, Any]) -> Message:
    """Return what is wrong: the text of our own check, or pydantic's."""
    context = problem.get("ctx", {})
    if problem["type"] == "value_error" and context["error"].args:
        return Message(context["error"].args[0])
    if problem["type"] == "literal_error":
        context = {"choices": context["expected"].replace(" or ", ", ")}
    if problem["type"] in _PYDANTIC:
        return Message(_PYDANTIC[problem["type"]], **context)
    in_english = problem["msg"][:1].lower() + problem["msg"][1:]
    return Message(in_english)


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
