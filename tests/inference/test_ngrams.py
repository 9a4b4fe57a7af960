"""The table of n-grams: it finds what it holds, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from smstune.inference.ngrams import as_cut, build_table, origins


def found(table, vocabulary, texts):
    """Return message, start and n-gram of each occurrence."""
    return {
        (message, start, vocabulary[column])
        for ngrams in table.occurrences(texts)
        for message, start, column in zip(
            ngrams.messages.tolist(), ngrams.starts.tolist(), ngrams.columns.tolist(), strict=True
        )
    }


def test_n_grams_are_found_where_they_start_and_not_across_messages():
    vocabulary = ["退", "订", "\n", "退订", "订\n", "订\n退", "退订退", "退订退订"]
    table = build_table(vocabulary, np.ones(8))
    # Messages are joined with line feeds: an n-gram with one must not be found between two.
    assert found(table, vocabulary, ["退订", "", "退"]) == {
        (0, 0, "退"), (0, 1, "订"), (0, 0, "退订"), (2, 4, "退"),
    }  # fmt: skip
    (four,) = [gram for gram in found(table, vocabulary, ["退订退订"]) if len(gram[2]) == 4]
    assert four == (0, 0, "退订退订")


def test_a_crowded_table_finds_each_of_its_n_grams_and_no_other():
    alphabet = [chr(0x4E00 + number) for number in range(300)]
    vocabulary = alphabet + [a + b for a in alphabet[:200] for b in alphabet[:200]]
    table = build_table(vocabulary, np.ones(len(vocabulary)))
    texts = [a + b for a in alphabet for b in alphabet]
    pairs = {gram for _, _, gram in found(table, vocabulary, texts) if len(gram) == 2}
    assert pairs == set(vocabulary[300:])


def test_of_too_many_characters_the_rarest_stay_unknown():
    alphabet = [chr(number) for number in range(0x10000, 0x10000 + 70_000)]
    vocabulary = [*alphabet, alphabet[0] + alphabet[1], alphabet[0] + alphabet[-1]]
    rarity = np.arange(len(vocabulary), dtype=float)
    table = build_table(vocabulary, rarity)
    text = alphabet[0] + alphabet[1] + alphabet[65_534] + alphabet[65_535] + alphabet[0]
    singles = {gram for _, _, gram in found(table, vocabulary, [text]) if len(gram) == 1}
    assert singles == {alphabet[0], alphabet[1], alphabet[65_534]}
    text = alphabet[0] + alphabet[1] + alphabet[0] + alphabet[-1]
    pairs = {gram for _, _, gram in found(table, vocabulary, [text]) if len(gram) == 2}
    assert pairs == {alphabet[0] + alphabet[1]}


@pytest.mark.parametrize("text", ["", "a \t b\n", "İ\u2003\u2003Σ", " \n", "\tx"])
def test_each_character_as_cut_has_its_origin(text):
    cut, sources = as_cut(text), origins(text)
    assert len(cut) == len(sources)
    for character, source in zip(cut, sources.tolist(), strict=True):
        assert character == " " or character in text[source].lower() + text.lower()[source:]
