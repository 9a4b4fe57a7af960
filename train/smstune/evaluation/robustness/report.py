"""The evasion suite as a part of the report: curves over strength, and every number."""

from __future__ import annotations

from collections.abc import Callable

from smstune.evaluation.robustness.suite import Robustness, SuiteRow, SuiteScores
from smstune.language import Message, joined
from smstune.reporting.charts import Line, LineChart
from smstune.reporting.document import Block, Caution, Figure, Section, Table
from smstune.reporting.format import percent

#: Each score's name in the report, and the function that gets it from SuiteScores.
_SCORES: dict[Message, Callable[[SuiteScores], float | None]] = {
    Message("macro-F1"): lambda scores: scores.macro_f1,
    Message("recall"): lambda scores: scores.recall,
    Message("false positives"): lambda scores: scores.false_positive_rate,
}
#: The number of each score's series colour.
_COLOURS = {"macro-F1": 2, "recall": 0, "false positives": 5}

#: The transforms by their names in the configuration, which a translation keeps in brackets.
_TRANSFORMS = (
    Message("full_width"),
    Message("zero_width"),
    Message("traditional"),
    Message("homophones"),
    Message("pinyin"),
    Message("initials"),
    Message("look_alike"),
    Message("split_characters"),
    Message("symbols"),
    Message("digit_words"),
    Message("shuffle"),
    Message("contacts"),
    Message("signature"),
    Message("benign_text"),
)


def robustness_section(suite: Robustness) -> Section:
    """Return the section of the report that shows the evasion suite."""
    if suite.harmful is None:
        meaning = Message(
            "No label or parent is named fraud or illegal, so only macro-F1 is defined."
        )
    else:
        meaning = Message(
            "Recall: the share of messages of {labels} that get one of these labels; false "
            "positives: the share of all others that get one.",
            labels=", ".join(suite.harmful),
        )
    note = Message(
        "{n_messages:,} messages drawn from the split, each rewritten by every transform; strength "
        "is the share of characters or words changed. {meaning} Personal information is masked "
        "with and without the normaliser. docs/robustness.md describes the transforms.",
        n_messages=suite.n,
        meaning=meaning,
    )
    return Section(Message("Evasion"), note, [*_losses(suite), _curves(suite), _numbers(suite)])


def _losses(suite: Robustness) -> list[Block]:
    """Return which transforms the cascade makes more effective, if any."""
    losses = [
        Message("{transform} ({points:.1f} points)", transform=Message(name), points=100 * loss)
        for name, loss in suite.lost_to_cascade().items()
    ]
    if not losses:
        return []
    return [
        Caution(
            Message(
                "Because of the cascade, recall is more than 1 point smaller under these "
                "transforms: {losses}.",
                losses=joined(losses, "; "),
            )
        )
    ]


def _numbers(suite: Robustness) -> Table:
    head = [Message("transform"), Message("strength"), Message("changed")]
    head += [column for name in _SCORES for column in (name, Message("without normaliser"))]
    clean = [score(suite.clean) for score in _SCORES.values() for _ in range(2)]
    rows: list[list[object]] = [[Message("none"), "", "", *clean]]
    for row in suite.rows:
        name = (
            Message("{transform} (trained on)", transform=Message(row.transform))
            if row.trained_on
            else Message(row.transform)
        )
        scores = [score(side) for score in _SCORES.values() for side in (row.normalised, row.raw)]
        rows.append([name, f"{row.strength:g}", percent(row.changed), *scores])
    if suite.clean.recall_without_cascade is not None:
        head.append(Message("recall without cascade"))
        rows[0].append(suite.clean.recall_without_cascade)
        for cells, row in zip(rows[1:], suite.rows, strict=True):
            cells.append(row.normalised.recall_without_cascade)
    return Table(head, rows)


def _curves(suite: Robustness) -> Figure:
    rows_by_transform: dict[str, list[SuiteRow]] = {}
    for row in suite.rows:
        rows_by_transform.setdefault(row.transform, []).append(row)
    charts = [
        LineChart(
            [line for name in _SCORES for line in _lines(name, rows, suite.clean)],
            Message("strength"),
            Message("score"),
            title=Message(transform),
            y_range=(0, 1),
        )
        for transform, rows in rows_by_transform.items()
    ]
    return Figure(charts, Message("Scores over strength for each transform"))


def _lines(name: Message, rows: list[SuiteRow], clean: SuiteScores) -> list[Line]:
    """Return a score over strength, with the normaliser and without; nothing if undefined."""
    score = _SCORES[name]
    if score(clean) is None:
        return []
    normalised = [(0.0, score(clean)), *((row.strength, score(row.normalised)) for row in rows)]
    raw = [(0.0, score(clean)), *((row.strength, score(row.raw)) for row in rows)]
    return [
        Line(name, normalised, _COLOURS[name], markers=True),
        Line(
            Message("{score}, without normaliser", score=name),
            raw,
            _COLOURS[name],
            dashed=True,
            markers=True,
        ),
    ]
