"""The model card: README.md in English with the hub's metadata, README.zh-CN.md in Chinese."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from smstune.deploy.hub.card_facts import (
    CardFacts,
    card_facts,
    memory_facts,
    own_sources,
    terms_of_all,
)
from smstune.inference.manifest import Manifest
from smstune.language import Message, translated
from smstune.paths import is_repo_id
from smstune.reporting.format import share_text, show

ENGLISH, CHINESE = "README.md", "README.zh-CN.md"
#: An address stays as it is, or its link breaks; everything else that Markdown reads is escaped.
_SPECIAL = re.compile(r"(https?://[^\s|<>]+)|([\\`*_{}\[\]<>#|~$&!])")
#: The hub's names of scores: key of metrics.json, metric type, name to show, arguments.
_SCORES: tuple[tuple[str, str, str, dict[str, Any] | None], ...] = (
    ("macro_f1", "f1", "macro-F1", {"average": "macro"}),
    ("accuracy", "accuracy", "accuracy", None),
    ("matthews", "matthews_correlation", "Matthews correlation", None),
)


def write_card(folder: Path, run: Path, manifest: Manifest, name: str) -> None:
    """Write the card of ``run`` into ``folder``, in both languages.

    ``name`` is the repository's id or the folder's name; ``manifest`` the published one.

    Raises:
        UserError: if the run was not evaluated as a card needs it.
    """
    facts = card_facts(run, manifest, name)
    pages = Environment(
        loader=PackageLoader("smstune.deploy.hub", "."),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Markdown, not HTML: what comes from outside goes through the filter ``md``.
        autoescape=False,
    )
    pages.globals["show"] = show
    pages.filters.update(md=escape_markdown, pct=share_text, span=interval, zh=_chinese)
    values = {
        **vars(facts),
        "data": manifest.data,
        "terms": terms_of_all(manifest),
        "own_sources": own_sources(manifest),
        "memory": memory_facts(folder),
    }
    body = pages.get_template("card_en.md.jinja").render(values)
    ModelCard(f"---\n{card_metadata(facts)}\n---\n\n{body}").save(folder / ENGLISH)
    chinese = pages.get_template("card_zh.md.jinja").render(values)
    (folder / CHINESE).write_text(chinese, "utf-8")


def card_metadata(facts: CardFacts) -> ModelCardData:
    """Return the metadata that a hub reads, ``model-index`` among it."""
    manifest, metrics = facts.manifest, facts.metrics
    data, base = manifest.data, manifest.base_model["name_or_path"]
    sets = [terms.name for terms in data.terms or ()] or [data.path]
    results = [
        EvalResult(
            task_type="text-classification",
            task_name="SMS classification",
            dataset_type=" + ".join(sets),
            dataset_name=f"{', '.join(sets)}, as smstune prepared it",
            dataset_config=f"split by {data.split.method}",
            dataset_split=metrics.split,
            metric_type=kind,
            metric_name=shown,
            metric_value=round(value, 4),
            metric_args=arguments,
        )
        for key, kind, shown, arguments in _SCORES
        if (value := getattr(metrics, key)) is not None
    ]
    return ModelCardData(
        language=["zh"],
        # The weights carry the terms of the data and of the base model, whatever our code's are.
        license="other",
        license_name="terms-of-the-data",
        license_link=ENGLISH,
        library_name="transformers",
        pipeline_tag="text-classification",
        base_model=base if base is not None and is_repo_id(base) else None,
        tags=["sms", "spam", "fraud", "smstune"],
        metrics=[kind for _, kind, _, _ in _SCORES],
        model_name=facts.name,
        eval_results=results,
    )


def escape_markdown(text: object) -> str:
    """Return ``text`` on one line, so that Markdown and its tables show it as it is."""
    line = " ".join(str(text).split())
    return _SPECIAL.sub(lambda match: match[1] or f"\\{match[2]}", line)


def _chinese(text: str) -> str:
    """Return a text of ours in Chinese, also one that was read from a file as plain English."""
    return translated(Message(text), "zh")


def interval(bounds: Sequence[float] | None) -> str:
    """Return an interval as a cell shows it."""
    return "–" if bounds is None else f"{bounds[0]:.3f}–{bounds[1]:.3f}"
