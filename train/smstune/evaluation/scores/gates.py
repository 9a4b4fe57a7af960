"""Minimum scores that a run must reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from smstune.config.schema import GateConfig
from smstune.errors import GateError, UserError
from smstune.evaluation.scores.results import GateResult, Scores, SliceScores
from smstune.results import Result

Value = TypeVar("Value")


def require_gates(gates: Sequence[GateResult]) -> None:
    """Fail where a gate was missed.

    Raises:
        GateError: naming every such gate, its bounds and the value.
    """
    missed = [gate for gate in gates if not gate.kept]
    if missed:
        raise GateError("gates not kept: " + "; ".join(map(describe_gate, missed)))


def check_gates(
    gates: Sequence[GateConfig], scores: Scores, slices: Sequence[SliceScores]
) -> list[GateResult]:
    """Return each gate with the value it looks at and whether that keeps it.

    An undefined score keeps no gate.

    Raises:
        UserError: if a gate names a score, a label or a slice that does not exist.
    """
    results = []
    for gate in gates:
        value = _gated_value(gate, scores, slices)
        kept = (
            value is not None
            and (gate.min is None or value >= gate.min)
            and (gate.max is None or value <= gate.max)
        )
        results.append(GateResult(**gate.model_dump(exclude_none=True), value=value, kept=kept))
    return results


def describe_gate(gate: GateResult) -> str:
    """Say what a gate asked for and what the value was."""
    owner = gate.label or gate.slice
    bounds = [
        f"{words} {bound:g}"
        for words, bound in (("at least", gate.min), ("at most", gate.max))
        if bound is not None
    ]
    value = "no value" if gate.value is None else f"{gate.value:.4g}"
    score = f"{gate.score} of {owner}" if owner else gate.score
    return f"{score}: expected {' and '.join(bounds)}, found {value}"


def _gated_value(gate: GateConfig, scores: Scores, slices: Sequence[SliceScores]) -> float | None:
    holder: Result = scores
    if gate.label is not None:
        of_parents = scores.coarse.per_label if scores.coarse else {}
        holder = _named({**of_parents, **scores.per_label}, gate.label, "label")
    elif gate.slice is not None:
        holder = _named({row.slice: row for row in slices}, gate.slice, "slice")
    numbers: dict[str, float | None] = {
        name: value
        for name, value in holder
        if name in holder.model_fields_set and (value is None or type(value) in (int, float))
    }
    return _named(numbers, gate.score, "score")


def _named(values: Mapping[str, Value], name: str, kind: str) -> Value:
    if name not in values:
        raise UserError(
            "evaluation.gates: expected a {kind} of {values}, found {name!r}",
            kind=kind,
            values=", ".join(values),
            name=name,
        )
    return values[name]
