"""Minimum scores that a run must reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smstune.config.schema import GateConfig
from smstune.errors import GateError, UserError


def require_gates(metrics: dict[str, Any]) -> None:
    """Fail where a gate was not kept.

    Raises:
        GateError: naming every such gate, its bounds and the value found.
    """
    broken = [gate for gate in metrics["gates"] if not gate["kept"]]
    if broken:
        raise GateError("gates not kept: " + "; ".join(map(describe_gate, broken)))


def check_gates(metrics: Mapping[str, Any], gates: tuple[GateConfig, ...]) -> list[dict[str, Any]]:
    """Return each gate with the ``value`` it looked at and whether it was ``kept``.

    A score without a value keeps no gate.

    Raises:
        UserError: if a gate names a score, a label or a slice that is not there.
    """
    rows = []
    for gate in gates:
        value = _gated(metrics, gate)
        kept = (
            value is not None
            and (gate.min is None or value >= gate.min)
            and (gate.max is None or value <= gate.max)
        )
        rows.append({**gate.model_dump(exclude_none=True), "value": value, "kept": kept})
    return rows


def describe_gate(row: Mapping[str, Any]) -> str:
    """Say what a row of ``check_gates`` asked for and what it found."""
    of = row.get("label") or row.get("slice")
    wanted = " and ".join(
        f"{word} {row[name]:g}"
        for name, word in (("min", "at least"), ("max", "at most"))
        if name in row
    )
    found = "no value" if row["value"] is None else f"{row['value']:.4g}"
    return f"{row['score']}{f' of {of}' if of else ''}: expected {wanted}, found {found}"


def _gated(metrics: Mapping[str, Any], gate: GateConfig) -> float | None:
    place: Mapping[str, Any] = metrics
    if gate.label is not None:
        rows = {**metrics.get("coarse", {}).get("per_label", {}), **metrics["per_label"]}
        place = _named(rows, gate.label, "label")
    elif gate.slice is not None:
        place = _named({row["slice"]: row for row in metrics["slices"]}, gate.slice, "slice")
    scores = {
        name: value
        for name, value in place.items()
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    }
    value: float | None = _named(scores, gate.score, "score")
    return value


def _named(places: Mapping[str, Any], name: str, what: str) -> Any:  # noqa: ANN401
    if name not in places:
        raise UserError(
            f"evaluation.gates: expected a {what} of {', '.join(places)}, found {name!r}"
        )
    return places[name]
