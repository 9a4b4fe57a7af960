"""Adds the titles of labels to a report or a table, wherever a label's name stands by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from smstune.language import Message
from smstune.reporting.charts import BarChart, Chart, LineChart
from smstune.reporting.document import Block, Figure, Report, Section, Table


def report_with_titles(report: Report, shown_names: Mapping[str, str]) -> Report:
    """Return the report with ``shown_names`` in place of label names in tables and figures.

    Sentences keep the bare names. Without a title ``shown_names`` holds the name itself.
    """
    return replace(
        report,
        figure=report.figure and _figure(report.figure, shown_names),
        sections=[_section(section, shown_names) for section in report.sections],
    )


def table_with_titles(table: Table, shown_names: Mapping[str, str]) -> Table:
    """Return the table with ``shown_names`` in cells that are a label's name, or of its F1."""
    shown_cells = {
        cell: shown_cell
        for name, shown in shown_names.items()
        for cell, shown_cell in (
            (name, shown),
            (f"F1 {name}", f"F1 {shown}"),
            (f"per_label.{name}.f1", f"per_label.{shown}.f1"),
        )
    }

    def with_title(cell: object) -> object:
        # A message is a text of ours, even where a label has the same name.
        if isinstance(cell, Message) or not isinstance(cell, str):
            return cell
        return shown_cells.get(cell, cell)

    return replace(table, rows=[[with_title(cell) for cell in row] for row in table.rows])


def _section(section: Section, shown_names: Mapping[str, str]) -> Section:
    return replace(section, blocks=[_block(block, shown_names) for block in section.blocks])


def _block(block: Block, shown_names: Mapping[str, str]) -> Block:
    if isinstance(block, Table):
        return table_with_titles(block, shown_names)
    return _figure(block, shown_names) if isinstance(block, Figure) else block


def _figure(figure: Figure, shown_names: Mapping[str, str]) -> Figure:
    return replace(figure, charts=[_chart(chart, shown_names) for chart in figure.charts])


def _chart(chart: Chart, shown_names: Mapping[str, str]) -> Chart:
    if isinstance(chart, BarChart):
        return replace(chart, names=[shown_names.get(name, name) for name in chart.names])
    if isinstance(chart, LineChart):
        lines = [replace(line, name=shown_names.get(line.name, line.name)) for line in chart.lines]
        return replace(chart, lines=lines)
    return replace(chart, labels=[shown_names.get(name, name) for name in chart.labels])
