"""The rules of a self-inspection: how they are configured, and which of them a text hits."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from smstune.config.schema import Section
from smstune.config.wording import explain
from smstune.config.yaml_files import read_yaml
from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.language import LANGUAGES, Message
from smstune.text.normalize import normalize
from smstune.text.opt_out import OPT_OUT_WORDS
from smstune.text.pii.mask import mask_pii

#: The shipped rules.
SHIPPED = Path(__file__).with_name("rules.yaml")

Named = Annotated[str, StringConstraints(min_length=1)]
Hour = Annotated[int, Field(ge=0, le=24, strict=True)]


class RuleText(Section):
    """A text in Chinese and English, or in one of them."""

    zh: Named | None = None
    en: Named | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.zh is None and self.en is None:
            raise ValueError(Message("expected a text in zh or en: add one"))
        return self

    def in_language(self, language: str) -> str:
        """Return the text in ``language``, else in the other one."""
        first, second = (self.zh, self.en) if language == "zh" else (self.en, self.zh)
        return first or second or ""


class Examples(Section):
    """Messages that hit a rule, and similar ones that do not; Chinese before English."""

    hits: tuple[Named, ...]
    clean: tuple[Named, ...]


class Rule(Section):
    """What a report shows of a rule, which messages it is for, and whether it is applied.

    ``{key}`` in ``how`` is replaced by that value of the rule. ``penalty`` names the article on
    penalties, if that was verified.
    """

    title: RuleText
    scope: Literal["marketing", "all"]
    how: RuleText
    source: RuleText
    penalty: RuleText | None = None
    enabled: bool = True
    examples: Examples | None = None

    @field_validator("title", "how", "source", "penalty", mode="before")
    @classmethod
    def _of_one_language(cls, text: object) -> object:
        """Take a text without a language for both."""
        if text is None:
            return None
        if isinstance(text, str):
            return {"zh": text, "en": text}
        if not isinstance(text, Mapping):
            raise ValueError(Message("expected a text, or one in zh and one in en"))
        return text

    @model_validator(mode="after")
    def _explainable(self) -> Self:
        try:
            for language in LANGUAGES:
                self.explanation(language)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(
                Message("how: no such value of the rule: {error}", error=error)
            ) from error
        return self

    def explanation(self, language: str) -> str:
        """Return ``how`` in ``language``, with the rule's values filled in."""
        return self.how.in_language(language).format(**self.model_dump())


def _checked_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return regular expressions after a check that each is one and does not match every text.

    Raises:
        ValueError: with the reason, as a message.
    """
    for word in words:
        try:
            empty = re.compile(word).search("")
        except re.error as error:
            raise ValueError(
                Message("invalid regular expression ({error})", error=error)
            ) from error
        if empty:
            raise ValueError(Message("{word!r} matches every text", word=word))
    return words


def _matches_any(words: Iterable[str], text: str) -> bool:
    """Return whether one of the expressions matches somewhere in ``text``, ignoring case."""
    return any(re.search(word, text, re.IGNORECASE) for word in words)


class Words(Rule):
    """A rule that is hit where one of its regular expressions matches."""

    words: tuple[Named, ...] = Field(min_length=1)

    @field_validator("words")
    @classmethod
    def _compile(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return _checked_words(words)

    def matches(self, text: str) -> bool:
        """Return whether any expression matches somewhere in ``text``, ignoring case."""
        return _matches_any(self.words, text)


class WordsInContext(Words):
    """Hit by ``words`` where ``context``, if there is any, matches too and ``unless`` does not."""

    context: tuple[Named, ...] = ()
    unless: tuple[Named, ...] = ()

    @field_validator("context", "unless")
    @classmethod
    def _compile_context(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        return _checked_words(words)

    def matches(self, text: str) -> bool:
        """Return whether ``text`` has the words, in their context and without an exception."""
        if not super().matches(text) or _matches_any(self.unless, text):
            return False
        return not self.context or _matches_any(self.context, text)


class Consent(Rule):
    """``none``: the values, in lower case, that mean that consent was not given."""

    none: tuple[str, ...]


class Signature(Rule):
    """``characters``: the least and the most characters of the name in brackets."""

    characters: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class Night(Rule):
    """From ``from_hour`` to ``to_hour``, which may be on the next day."""

    from_hour: Hour
    to_hour: Hour

    def contains(self, hour: int) -> bool:
        """Return whether ``hour``, 0 to 23, is in the night."""
        if self.from_hour < self.to_hour:
            return self.from_hour <= hour < self.to_hour
        return hour >= self.from_hour or hour < self.to_hour


class Limit(Rule):
    """``most``: the messages that one recipient may get in a day."""

    most: Annotated[int, Field(ge=1, strict=True)]


class Contacts(Words):
    """Words that ask for contact, and ``kinds``, the types of ``find_pii`` that count as one."""

    kinds: tuple[Literal["PHONE", "LANDLINE", "SERVICE", "EMAIL", "WECHAT", "QQ", "URL"], ...]


class SenderContact(Contacts):
    """A rule that is hit where a message has none of the ``words`` and ``kinds`` of contact."""


class OptOutForm(Rule):
    """``form``: the words, exactly, with which a platform wants the opt-out to be offered."""

    form: Named


class Labelled(Rule):
    """``labels``: labels or their parents; those that a run lacks are ignored."""

    labels: tuple[Named, ...]


class Banned(WordsInContext, Labelled):
    """A rule that is hit by a label or by words."""


class OptOut(Words):
    """``words`` that offer to opt out; by default those of ``text.opt_out``."""

    words: tuple[str, ...] = OPT_OUT_WORDS


class Rules(Section):
    """Every rule by its name."""

    no_consent: Consent
    before_consent: Rule
    after_withdrawal: Rule
    outside_period: Rule
    outside_type: Rule
    outside_frequency: Rule
    no_evidence: Rule
    request_after_refusal: WordsInContext
    no_signature: Signature
    no_sender_contact: SenderContact
    no_opt_out: OptOut
    opt_out_form: OptOutForm
    night: Night
    too_many: Limit
    short_link: Words
    personal_contact: Contacts
    absolute_claim: Words
    guaranteed_return: Words
    no_risk_warning: WordsInContext
    property_promise: WordsInContext
    education_promise: WordsInContext
    medical_claim: WordsInContext
    banned_trade: Banned
    fraud_supplies: WordsInContext
    variant_characters: Rule
    fraud: Labelled

    def by_name(self) -> dict[str, Rule]:
        """Return the rules by their names."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class RuleBook(Section):
    """The labels (or parents) that count as marketing, and the rules."""

    marketing: tuple[Named, ...] = Field(min_length=1)
    rules: Rules


@dataclass(frozen=True)
class AppliedRules:
    """The rules as they apply to one run, with the limits on their hits.

    ``labels_by_rule`` holds the run's labels for each rule that looks at labels; ``max_share`` the
    largest share of hits that a rule may reach.
    """

    rules: Rules
    marketing_labels: frozenset[str]
    labels_by_rule: Mapping[str, frozenset[str]]
    max_share: Mapping[str, float]


def apply_rules(
    book: RuleBook,
    labels: LabelMap,
    *,
    marketing: Sequence[str] | None = None,
    max_share: Mapping[str, float],
) -> AppliedRules:
    """Return the rules for a run's labels; ``marketing`` replaces the book's labels.

    Raises:
        UserError: if the run has none of the marketing labels, or not one that was asked for.
    """
    known_names = [*dict.fromkeys([*labels.parent_names, *labels.names])]

    def resolve(names: Iterable[str]) -> frozenset[str]:
        return frozenset(labels.names[k] for k in labels.ids_of(names, "--marketing"))

    marketing_labels = resolve(
        marketing or [name for name in book.marketing if name in known_names]
    )
    if not marketing_labels:
        raise UserError(
            "the run has none of the labels or parents {expected_names}, only {names}: name the "
            "marketing labels with --marketing",
            expected_names=", ".join(book.marketing),
            names=", ".join(known_names),
        )
    labels_by_rule = {
        name: resolve(label for label in rule.labels if label in known_names)
        for name, rule in book.rules.by_name().items()
        if isinstance(rule, Labelled)
    }
    return AppliedRules(book.rules, marketing_labels, labels_by_rule, max_share)


def load_rules(path: Path | None = None) -> RuleBook:
    """Return the shipped rules with the changes of the YAML at ``path``.

    Raises:
        UserError: naming every wrong key or value at once.
    """
    book = read_yaml(SHIPPED)
    if path is not None:
        user_book = read_yaml(path)
        changes = user_book.pop("rules", {})
        if not isinstance(changes, dict) or not all(isinstance(c, dict) for c in changes.values()):
            raise UserError("{path}: expected `rules:` with a mapping for each rule", path=path)
        rules = {**book["rules"]}
        for name, change in changes.items():
            rules[name] = {**rules.get(name, {}), **change}
        book = {**book, **user_book, "rules": rules}
    try:
        return RuleBook.model_validate(book)
    except ValidationError as error:
        raise UserError(
            "{path}: {problems}", path=path or SHIPPED, problems=explain(error, RuleBook)
        ) from error


def text_hits(text: str, rules: Rules) -> set[str]:
    """Return the rules that ``text`` hits by its words, whether or not it is marketing."""
    clean = normalize(text)
    by_name = rules.by_name()
    worded = {name: rule for name, rule in by_name.items() if isinstance(rule, Words)}
    raw_words = {name for name, rule in worded.items() if rule.matches(text)}
    hits = raw_words | {name for name, rule in worded.items() if rule.matches(clean)}
    if hits != raw_words or has_variants(text):
        hits.add("variant_characters")
    # These rules are hit when their words are missing.
    hits ^= {"no_opt_out", "no_sender_contact"}
    if not has_signature(text, rules.no_signature):
        hits.add("no_signature")
    # The platform compares the characters as they are.
    if rules.opt_out_form.form not in text:
        hits.add("opt_out_form")
    masked = mask_pii(text)
    if any(f"[{kind}]" in masked for kind in rules.personal_contact.kinds):
        hits.add("personal_contact")
    if any(f"[{kind}]" in masked for kind in rules.no_sender_contact.kinds):
        hits.discard("no_sender_contact")
    return {name for name in hits if by_name[name].enabled}


def has_signature(text: str, rule: Signature) -> bool:
    """Return whether ``text`` has a name of the right length between 【 and 】."""
    shortest, longest = rule.characters
    names = re.findall(r"【([^【】]*)】", text)
    return any(shortest <= len(name.strip()) <= longest for name in names)


# Zero-width characters inside a word; between words they may be part of an emoji.
_HIDDEN = re.compile("(?<=\\w)[\xad\u034f\u180e\u200b-\u200f\u2060-\u2064\u3164\ufeff]+(?=\\w)")
_READ = re.compile("[0-9A-Za-z\u4e00-\u9fff]+")
# 代_开_发_票 and 办 証 刻 章.
_SPELT = re.compile("(?:[\u4e00-\u9fff][ *._|~^+=]){3,}[\u4e00-\u9fff]")


def has_variants(text: str) -> bool:
    """Return whether the normaliser changes letters, digits or Chinese characters of ``text``.

    Emoji and stars between words, units (㎡), a circled digit of a list and white space count as
    decoration and are ignored. A Chinese character between two symbols, characters each separated
    by a symbol, and circled digits in a row are variants.
    """
    if _HIDDEN.search(text) or _SPELT.search(text) or _spaced_by_symbols(text):
        return True
    plain = _without_decoration(text)
    return "".join(_READ.findall(plain)) != "".join(_READ.findall(normalize(plain)))


def _spaced_by_symbols(text: str) -> bool:
    # U+FE0F only selects how an emoji is drawn.
    return "SHS" in "".join(map(_kind, text.replace("\ufe0f", "")))


def _without_decoration(text: str) -> str:
    kinds = "".join(map(_kind, text))
    return "".join(
        character
        for index, character in enumerate(text)
        if kinds[index] != "S"
        and (kinds[index] != "N" or "N" in (kinds[index - 1 : index], kinds[index + 1 : index + 2]))
    )


@lru_cache(maxsize=20_000)
def _kind(character: str) -> str:
    """Return S for a symbol, N for a numeral such as ①, Ⅱ, ², H for a Chinese character."""
    if "\u4e00" <= character <= "\u9fff":
        return "H"
    return {"So": "S", "No": "N", "Nl": "N"}.get(unicodedata.category(character), "-")
