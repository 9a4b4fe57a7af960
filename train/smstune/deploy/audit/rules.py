"""The rules of a self-inspection: the book they stand in, and what each finds in a text."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from smstune.config.schema import Section
from smstune.config.wording import explain
from smstune.config.yaml_files import read_yaml
from smstune.errors import UserError
from smstune.text.normalize import normalize
from smstune.text.opt_out import OPT_OUT_WORDS
from smstune.text.pii.mask import mask_pii

#: The book that is used unless another is named.
SHIPPED = Path(__file__).with_name("rules.yaml")

Named = Annotated[str, StringConstraints(min_length=1)]
Hour = Annotated[int, Field(ge=0, le=24, strict=True)]


class Rule(Section):
    """What a reader is told of a rule, and which messages it is for.

    ``{key}`` in ``how`` stands for a value of the rule, so that it says what is in force.
    """

    title: Named
    scope: Literal["marketing", "all"]
    how: Named
    source: Named

    @model_validator(mode="after")
    def _tellable(self) -> Self:
        try:
            self.told()
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError(f"how: no such value of the rule: {error}") from error
        return self

    def told(self) -> str:
        """Return ``how`` with its values."""
        return self.how.format(**self.model_dump())


class Words(Rule):
    """Regular expressions."""

    words: tuple[Named, ...] = Field(min_length=1)

    @field_validator("words")
    @classmethod
    def _compile(cls, words: tuple[str, ...]) -> tuple[str, ...]:
        for word in words:
            try:
                empty = re.compile(word).search("")
            except re.error as error:
                raise ValueError(f"no regular expression ({error})") from error
            if empty:
                raise ValueError(f"{word!r} is found in every text")
        return words

    def found_in(self, text: str) -> bool:
        """Say whether any of the words is in ``text``, whatever their case."""
        return any(re.search(word, text, re.IGNORECASE) for word in self.words)


class Consent(Rule):
    """``none``: the values, in small letters, that record no consent."""

    none: tuple[str, ...]


class Signature(Rule):
    """``characters``: the shortest and the longest name between the brackets."""

    characters: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class Night(Rule):
    """From an hour to another, which may be of the next morning."""

    from_hour: Hour
    to_hour: Hour

    def holds(self, hour: int) -> bool:
        """Say whether ``hour``, 0 to 23, is in the night."""
        if self.from_hour < self.to_hour:
            return self.from_hour <= hour < self.to_hour
        return hour >= self.from_hour or hour < self.to_hour


class Limit(Rule):
    """``most``: messages that one may get in a day."""

    most: Annotated[int, Field(ge=1, strict=True)]


class Contacts(Words):
    """Words that ask to get in touch, and ``kinds``: types of ``find_pii``."""

    kinds: tuple[Literal["PHONE", "LANDLINE", "SERVICE", "EMAIL", "WECHAT", "QQ", "URL"], ...]


class Labelled(Rule):
    """``labels``: labels or their parents; those that a run lacks are passed over."""

    labels: tuple[Named, ...]


class Banned(Words, Labelled):
    """Labels and words."""


class OptOut(Words):
    """``words`` that offer to stop; by default those that the whole project knows."""

    words: tuple[str, ...] = OPT_OUT_WORDS


class Rules(Section):
    """Every rule by its name."""

    no_consent: Consent
    no_signature: Signature
    no_opt_out: OptOut
    night: Night
    too_many: Limit
    short_link: Words
    personal_contact: Contacts
    absolute_claim: Words
    guaranteed_return: Words
    banned_trade: Banned
    variant_characters: Rule
    fraud: Labelled

    def by_name(self) -> dict[str, Rule]:
        """Return the rules by their names."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class RuleBook(Section):
    """What counts as marketing, and the rules."""

    marketing: tuple[Named, ...] = Field(min_length=1)
    rules: Rules


def load_rules(path: Path | None = None) -> RuleBook:
    """Return the shipped rules, changed by those that the YAML at ``path`` names.

    Raises:
        UserError: naming every wrong key or value at once.
    """
    book = read_yaml(SHIPPED)
    if path is not None:
        own = read_yaml(path)
        changes = own.pop("rules", {})
        if not isinstance(changes, dict) or not all(isinstance(c, dict) for c in changes.values()):
            raise UserError(f"{path}: expected `rules:` with a mapping for each rule")
        rules = {**book["rules"]}
        for name, change in changes.items():
            rules[name] = {**rules.get(name, {}), **change}
        book = {**book, **own, "rules": rules}
    try:
        return RuleBook.model_validate(book)
    except ValidationError as error:
        raise UserError(f"{path or SHIPPED}: {explain(error, RuleBook)}") from error


def text_hits(text: str, rules: Rules) -> set[str]:
    """Return the rules that ``text`` hits by its words alone, whatever kind of message it is."""
    clean = normalize(text)
    worded = {name: rule for name, rule in rules.by_name().items() if isinstance(rule, Words)}
    raw_words = {name for name, rule in worded.items() if rule.found_in(text)}
    hits = raw_words | {name for name, rule in worded.items() if rule.found_in(clean)}
    if hits != raw_words or has_variants(text):
        hits.add("variant_characters")
    # That one asks for its words.
    hits ^= {"no_opt_out"}
    if not has_signature(text, rules.no_signature):
        hits.add("no_signature")
    masked = mask_pii(text)
    if any(f"[{kind}]" in masked for kind in rules.personal_contact.kinds):
        hits.add("personal_contact")
    return hits


def has_signature(text: str, rule: Signature) -> bool:
    """Say whether ``text`` has a name of the right length between 【 and 】, anywhere."""
    shortest, longest = rule.characters
    names = re.findall(r"【([^【】]*)】", text)
    return any(shortest <= len(name.strip()) <= longest for name in names)


# Zero-width characters inside a word; those that emoji are made of stand elsewhere.
_HIDDEN = re.compile("(?<=\\w)[\xad\u034f\u180e\u200b-\u200f\u2060-\u2064\u3164\ufeff]+(?=\\w)")
_READ = re.compile("[0-9A-Za-z\u4e00-\u9fff]+")
# 代_开_发_票 and 办 証 刻 章.
_SPELT = re.compile("(?:[\u4e00-\u9fff][ *._|~^+=]){3,}[\u4e00-\u9fff]")


def has_variants(text: str) -> bool:
    """Say whether the normaliser changes letters, digits or Chinese characters of ``text``.

    Emoji and stars between words, units (㎡), a circled digit of a list and white space are
    decoration. A single Chinese character between two symbols, single ones in a row, and circled
    digits in a row are not.
    """
    if _HIDDEN.search(text) or _SPELT.search(text) or _spaced_by_symbols(text):
        return True
    plain = _without_decoration(text)
    return "".join(_READ.findall(plain)) != "".join(_READ.findall(normalize(plain)))


def _spaced_by_symbols(text: str) -> bool:
    # An emoji may carry a selector of its variant.
    return "SHS" in "".join(map(_kind, text.replace("\ufe0f", "")))


def _without_decoration(text: str) -> str:
    kinds = "".join(map(_kind, text))
    return "".join(
        one
        for at, one in enumerate(text)
        if kinds[at] != "S"
        and (kinds[at] != "N" or "N" in (kinds[at - 1 : at], kinds[at + 1 : at + 2]))
    )


@lru_cache(maxsize=20_000)
def _kind(character: str) -> str:
    """S for a symbol, N for a number that is no digit (①, Ⅱ, ²), H for a Chinese character."""
    if "\u4e00" <= character <= "\u9fff":
        return "H"
    return {"So": "S", "No": "N", "Nl": "N"}.get(unicodedata.category(character), "-")
