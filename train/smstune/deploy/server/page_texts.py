"""The texts of the page to try a model; its script fills the ``{names}``."""

from __future__ import annotations

from smstune.language import Message, translated

_TEXTS = {
    "window": Message("smstune: try {name}"),
    "title": Message("Try {name}"),
    "privacy": Message("Your messages are sent only to this server and are not stored."),
    "no_script": Message("This page needs JavaScript. Without it, use POST /v1/classify."),
    "messages": Message("Messages, one per line"),
    "limit": Message("At most {max_messages} at once. Ctrl+Enter also submits."),
    "key": Message("API key"),
    "classify": Message("Classify"),
    "answers": Message("Answers"),
    "probabilities": Message("Probabilities"),
    "other_probabilities": Message("Other probabilities"),
    "explain": Message("Explain"),
    "no_answer": Message("The server does not answer."),
    "problem": Message("Expected {expected}, found {found}: {what_to_do}."),
    "label": Message("{label}, {probability}"),
    "more": Message("{count} more"),
    "working": Message("Working …"),
    "explanation": Message(
        "Red parts support {label}, blue parts oppose it; darker means stronger. Strongest, in "
        "nats: {pieces}."
    ),
    "nothing": Message("none"),
    "comma": Message(", "),
    "one_answered": Message("1 message answered."),
    "answered": Message("{count} messages answered."),
    "campaign": Message("Known campaign {id} since {first}, similarity {similarity}"),
    "pass": Message("pass"),
    "review": Message("review"),
    "block": Message("block"),
}


def page_texts(language: str) -> dict[str, str]:
    """Return the page's texts in ``language`` by their names in page.html and page.js."""
    return {name: translated(text, language) for name, text in _TEXTS.items()}
