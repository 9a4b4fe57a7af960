"""Minimum scores that a run must reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from smstune.config.schema import GateConfig
from smstune.errors import GateError, UserError
from smstune.evaluation.scores.results import GateResult, Scores, SliceScores
from smstune.language import Message, joined
from smstune.results import Result

Value = TypeVar("Value")


def require_gates(gates: Sequence[GateResult]) -> None:
    """Fail where a gate was missed.

    Raises:
        GateError: naming every such gate, its bounds and the value.
    """
    missed = [gate for gate in gates if not gate.kept]
    if missed:
        raise GateError("gates not kept: {gates}", gates=joined(map(describe_gate, missed), "; "))


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


def describe_gate(gate: GateResult) -> Message:
    """Say what a gate asked for and what the value was."""
    owner = gate.label or gate.slice
    score = Message("{score} of {owner}", score=gate.score, owner=owner) if owner else gate.score
    return Message(
        "{score}: expected {bounds}, found {value}",
        score=score,
        bounds=_bounds(gate),
        value=Message("no value") if gate.value is None else f"{gate.value:.4g}",
    )


def _bounds(gate: GateResult) -> Message:
    if gate.max is None:
        return Message("at least {min:g}", min=gate.min)
    if gate.min is None:
        return Message("at most {max:g}", max=gate.max)
    return Message("at least {min:g} and at most {max:g}", min=gate.min, max=gate.max)


def _gated_value(gate: GateConfig, scores: Scores, slices: Sequence[SliceScores]) -> float | None:
    holder: Result = scores
    if gate.label is not None:
        of_parents = scores.coarse.per_label if scores.coarse else {}
        holder = _named({**of_parents, **scores.per_label}, gate.label, Message("label"))
    elif gate.slice is not None:
        holder = _named({row.slice: row for row in slices}, gate.slice, Message("slice"))
    numbers: dict[str, float | None] = {
        name: value
        for name, value in holder
        if name in holder.model_fields_set and (value is None or type(value) in (int, float))
    }
    return _named(numbers, gate.score, Message("score"))


def _named(values: Mapping[str, Value], name: str, kind: str) -> Value:
    if name not in values:
        raise UserError(
            "evaluation.gates: expected a {kind} of {values}, found {name!r}",
            kind=kind,
            values=", ".join(values),
            name=name,
        )
    return values[name]
