"""The probe texts: what the normaliser makes of them is the same wherever it is tested."""

from __future__ import annotations

import json
import unicodedata

from doors import ROOT

from smstune.text.normalize import normalize
from smstune.text.probes import probe_digest, probe_texts, text_versions


def test_digest_is_the_golden_one():
    golden = json.loads((ROOT / "tests/golden/normalizer.json").read_text("utf-8"))
    assert probe_digest() == golden["probe_digest"]


def test_probes_are_changed_by_every_table():
    changed = [text for text in probe_texts() if normalize(text) != text]
    assert any("髮" in text for text in changed)
    assert any("①" in text for text in changed)
    assert text_versions()["unicode"] == unicodedata.unidata_version
