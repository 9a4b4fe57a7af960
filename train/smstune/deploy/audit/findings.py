"""The findings: the rows that hit a rule or could not be read, in the reader's language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smstune.deploy.audit.inspector import Finding
from smstune.deploy.audit.masking import masked_cell
from smstune.deploy.audit.rules import Rules
from smstune.inference.label_files import LabelTitle
from smstune.language import Message, joined, reader_language, translated

#: The columns by the keys under which audit.json lists them, in their order.
_HEADERS = {
    "row": Message("row"),
    "rule_titles": Message("rule_titles"),
    "rules": Message("rules"),
    "label": Message("label"),
    "label_title": Message("label_title"),
    "score": Message("score"),
    "note": Message("note"),
    "text": Message("text"),
}


class FindingsTable:
    """The header and the rows of the findings: our own columns, then those of the input.

    Rules are named by title and by the key that programs know. The label's title is there if a
    label has one, the text only ``with_text``.
    """

    def __init__(
        self,
        rules: Rules,
        label_titles: Mapping[str, LabelTitle],
        input_columns: Sequence[str],
        *,
        with_text: bool,
    ) -> None:
        language = reader_language()
        #: Our own columns: the header of each as it is written, by its key.
        self.headers = {key: translated(header) for key, header in _HEADERS.items()}
        if not label_titles:
            del self.headers["label_title"]
        if not with_text:
            del self.headers["text"]
        self._rule_titles = {
            name: rule.title.in_language(language) for name, rule in rules.by_name().items()
        }
        self._label_titles = {
            name: title.zh or title.en if language == "zh" else title.en or title.zh
            for name, title in label_titles.items()
        }
        self._input_columns = input_columns

    def header(self) -> list[str]:
        """Return the first row; no column of the input has the header of another."""
        headers = [*self.headers.values()]
        for name in self._input_columns:
            header = masked_cell(name)
            while header in headers:
                header = translated(Message("input_{name}", name=header))
            headers.append(header)
        return headers

    def cells(self, finding: Finding) -> list[object]:
        """Return the row of a finding."""
        titles = [self._rule_titles[name] for name in finding.rules]
        cells: dict[str, object] = {
            "row": finding.row,
            "rule_titles": translated(joined(titles, ", ")) if titles else "",
            "rules": " ".join(finding.rules),
            "label": finding.label,
            "label_title": self._label_titles.get(finding.label, ""),
            "score": finding.score,
            "note": translated(finding.problem),
            "text": finding.text,
        }
        others = [finding.other_cells.get(name, "") for name in self._input_columns]
        return [*(cells[key] for key in self.headers), *others]
