"""Messages without labels: what is read, what is merged, what is held back."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from doors import write_csv

from smstune.data.readers.catalogue import parse_input
from smstune.data.unlabelled import read_unlabelled
from smstune.errors import UserError
from smstune.inference.manifest import TextOptions
from smstune.tables.options import TableOptions

OPTIONS = TableOptions(labelled=False)


def read(paths, protected=(), text=None):
    inputs = [parse_input(str(path)) for path in paths]
    return read_unlabelled(inputs, OPTIONS, text or TextOptions(), protected)


def test_messages_are_preprocessed_merged_and_counted(tmp_path):
    first = write_csv(tmp_path / "first.csv", [("您的包裹请联系13912345678",), ("",)], ("text",))
    rows = [("您的包裹请联系13987654321", "x"), ("會議改到明天下午", "y"), ("…" * 20_000, "z")]
    second = write_csv(tmp_path / "second.csv", rows, ("text", "label"))
    unlabelled = read([first, second])
    assert unlabelled.texts == ["您的包裹请联系[PHONE]", "会议改到明天下午"]
    assert unlabelled.sources == ["first", "second"]
    assert (unlabelled.merged, unlabelled.unusable, unlabelled.set_aside) == (1, 2, 0)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_near_copies_of_protected_splits_are_set_aside(prepared, tmp_path, split):
    protected = pq.read_table(prepared / f"{split}.parquet")["text"][0].as_py()
    trained = pq.read_table(prepared / "train.parquet")["text"][0].as_py()
    rows = [(f"{protected}呀",), (protected,), (trained,)]
    table = write_csv(tmp_path / "raw.csv", rows, ("text",))
    assert read([table], [prepared]).texts == [trained]
    assert read([table], [prepared]).set_aside == 2
    assert read([table]).set_aside == 0


def test_a_protected_folder_that_was_preprocessed_otherwise_is_refused(prepared, tmp_path):
    table = write_csv(tmp_path / "raw.csv", [("明天下午开会",)], ("text",))
    with pytest.raises(UserError, match=r"set prepare.mask_pii=true and prepare.drop_punct"):
        read([table], [prepared], TextOptions(mask_pii=False))
