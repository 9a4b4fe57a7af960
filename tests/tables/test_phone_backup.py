"""The XML of SMS backup apps: messages, times and senders, or a line that says what it is."""

from __future__ import annotations

import zipfile

import pytest

from smstune.errors import UserError
from smstune.tables.options import TableOptions
from smstune.tables.read import read_rows

BACKUP = """<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>
<!--File Created By SMS Backup & Restore-->
<smses count="3">
  <sms address="10690000" date="1609463100000" type="1" body="周末八折&#10;&#60;退订&#62;回T&#55357;&#56832;" />
  <sms address="13800138000" date="1609463160000" type="2" body="好的&#0;" />
  <mms address="10690001" date="1609463220000" msg_box="1"><parts>
    <part ct="application/smil" text="null" /><part ct="text/plain" text="彩信" />
  </parts></mms>
</smses>
"""  # noqa: E501


def read(path, labelled=False):
    return list(read_rows(path, TableOptions(labelled=labelled)))


def written(path, content=BACKUP):
    path.write_text(content, "utf-8")
    return path


def test_every_message_is_read_with_time_and_sender_and_emoji_as_phones_write_them(tmp_path):
    rows = read(written(tmp_path / "sms-1.xml"))
    assert [row.text for row in rows] == ["周末八折\n<退订>回T😀", "好的\ufffd", "彩信"]
    assert [row.time for row in rows] == ["1609463100000", "1609463160000", "1609463220000"]
    assert [row.fields["sender"] for row in rows] == ["10690000", None, "10690001"]
    assert [row.fields["recipient"] for row in rows] == [None, "13800138000", None]
    assert [row.line for row in rows] == [1, 2, 3]


def test_a_zipped_backup_is_read_too(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("sms-1.xml", BACKUP)
    assert [row.text for row in read(tmp_path / "a.zip")][2] == "彩信"


@pytest.mark.parametrize(
    ("content", "labelled", "said"),
    [
        (BACKUP, True, "no labels"),
        (BACKUP.replace("smses", "plist"), False, "<plist>"),
        (BACKUP[:420], False, "damaged XML"),
        (
            '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "b">]><smses>&a;</smses>',
            False,
            "damaged XML",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line_without_a_message(
    tmp_path, content, labelled, said
):
    with pytest.raises(UserError, match=said) as error:
        read(written(tmp_path / "a.xml", content), labelled)
    assert "八折" not in str(error.value)
    assert "\n" not in str(error.value)
