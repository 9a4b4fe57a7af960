"""The base of results that are written to a JSON file and read from one."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


class Result(BaseModel):
    """A result with typed fields; a field that was not given has no key in JSON.

    So ``None`` is written as ``null`` where it was given, and read back as given. Keys that a later
    version adds are ignored.
    """

    # Deferred: most commands use few of the results that they import.
    model_config = ConfigDict(frozen=True, serialize_by_alias=True, defer_build=True)

    @model_serializer(mode="wrap")
    def _without_absent_fields(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        fields = type(self).model_fields
        absent = {fields[name].alias or name for name in fields.keys() - self.model_fields_set}
        return {key: value for key, value in values.items() if key not in absent}

    def to_json(self) -> dict[str, Any]:
        """Return the result in JSON's own types."""
        return self.model_dump(mode="json")

    def given(self) -> dict[str, Any]:
        """Return the fields that were given, by name, so that another result can have them too."""
        return {name: getattr(self, name) for name in self.model_fields_set}
