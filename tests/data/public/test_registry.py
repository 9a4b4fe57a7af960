"""The registry of public sets: what it holds, its terms, and fetching from a local server."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import threading
import zipfile
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from doors import ROOT, SHARED
from pydantic import ValidationError

from smstune.data.public.archive import unpack
from smstune.data.public.registry import download_set, find_set, load_registry, require_terms
from smstune.data.readers.catalogue import SOURCES, parse_input
from smstune.errors import UserError
from smstune.inference.labels import LabelMap
from smstune.tables.options import TableOptions

REGISTRY = load_registry(ROOT / "configs/sources.yaml")
FRAUD = "中奖了\n".encode()
OTHER = "开会\n".encode()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def zip_of(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def write_registry(tmp_path, **changes):
    fields = {
        "title": "A set",
        "home": "https://example.com",
        "format": "fbs",
        "licence": "None stated.",
        "commercial_use": "unclear",
        "citation": "Nobody. 2020.",
        "download": False,
        "prepare": "Reads it.",
    }
    path = tmp_path / "sources.yaml"
    path.write_text(yaml.safe_dump({"sets": {"aset": {**fields, **changes}}}), "utf-8")
    return path


@contextmanager
def serving(folder):
    """Serve ``folder`` on this machine; give its address and the paths asked for."""
    seen = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_args):
            seen.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_registry_knows_the_public_sets():
    assert list(REGISTRY) == [
        "fbs",
        "scriptguard",
        "nus",
        "chifraud",
        "ccl23",
        "message80w",
        "csms",
    ]
    assert [name for name, item in REGISTRY.items() if item.download] == ["fbs", "nus", "chifraud"]
    for name, item in REGISTRY.items():
        assert item.name == name
        assert item.format in SOURCES
        # A reader of its own is found again in the registry by the source's name.
        assert item.format == name or item.format in ("csv", "tsv", "jsonl")
        assert item.commercial_use != "allowed", "no known set states that it is"
        assert all(file.address.startswith("https://") for file in item.files)
        if item.labels:
            LabelMap.from_yaml(ROOT / item.labels)


def test_registry_cannot_be_changed_by_accident():
    with pytest.raises(ValidationError, match="frozen"):
        REGISTRY["nus"].commercial_use = "allowed"


def test_every_set_is_documented():
    page = (ROOT / "docs/data-sources.md").read_text("utf-8")
    for name, item in REGISTRY.items():
        assert f"| `{name}` |" in page
        assert item.home is None or item.home in page
        assert not item.download or f"--download {name} --accept-terms {name}" in page
    assert "de-identification, not anonymisation" in page


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_checksums_are_those_of_the_local_copies():
    (corpus,) = REGISTRY["nus"].files
    content = (SHARED / "data/nus-sms-corpus" / corpus.name).read_bytes()
    assert corpus.sha256 == sha256(content)
    folder = SHARED / "data/FBS_SMS_Dataset"
    found = {path.name: sha256(path.read_bytes()) for path in folder.iterdir()}
    del found["README.md"]
    assert REGISTRY["fbs"].files[0].members == found


def test_label_file_of_chifraud_covers_its_ids():
    labels = LabelMap.from_yaml(ROOT / REGISTRY["chifraud"].labels)
    assert [labels.resolve("chifraud", str(index)) for index in range(11)] == list(labels.names)
    assert labels.resolve("chifraud", "11") is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"colour": "red"}, "aset.colour: unknown key"),
        ({"commercial_use": "maybe"}, "aset.commercial_use: .*'maybe'"),
        ({"commercial_use": None}, "aset.commercial_use: "),
        ({"format": "pdf"}, "aset.format: .*expected one of fbs"),
        ({"licence": " "}, "aset.licence: "),
        ({"download": True}, "aset: .*expected files if download is true"),
        ({"files": [{"name": "a", "address": "http://example.com/a"}]}, "files.0.address.*https"),
        (
            {"files": [{"name": "../a", "address": "https://example.com/a"}]},
            r"files.0.name.*'../a'",
        ),
        ({"files": [{"name": "a", "sha256": "beef"}]}, "files.0.sha256.*'beef'"),
    ],
)
def test_wrong_entry_is_told_with_its_path(tmp_path, changes, expected):
    with pytest.raises(UserError, match=expected):
        load_registry(write_registry(tmp_path, **changes))


def test_all_problems_are_told_at_once(tmp_path):
    path = write_registry(tmp_path, format="pdf", licence="")
    with pytest.raises(UserError, match=r"aset\.format.*; aset\.licence"):
        load_registry(path)


@pytest.mark.parametrize("text", ["[]", "other: {}", "sets: []", "sets: {a: 1}"])
def test_file_that_is_no_registry_is_told(tmp_path, text):
    path = tmp_path / "sources.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(UserError, match="expected"):
        load_registry(path)


def test_unknown_set_is_told_with_a_guess():
    with pytest.raises(
        UserError, match=r"unknown public set 'Chi-Fraud': use .*; did you mean chifraud\?"
    ):
        find_set(REGISTRY, "Chi-Fraud")
    assert find_set(REGISTRY, "nus") is REGISTRY["nus"]


def test_terms_must_be_accepted_for_this_very_set():
    for name, words in {"chifraud": "CC BY-NC.*not allowed", "fbs": "None stated.*unclear"}.items():
        with pytest.raises(UserError, match=f"--accept-terms {name} .*{words}.*cite: "):
            require_terms(REGISTRY[name], ["nus"])
        require_terms(REGISTRY[name], ["nus", name])


def test_allowed_set_needs_no_acceptance(tmp_path):
    registry = load_registry(write_registry(tmp_path, commercial_use="allowed"))
    require_terms(registry["aset"], [])


def test_terms_for_the_manifest_are_plain_values():
    terms = REGISTRY["chifraud"].terms()
    assert terms.name == "chifraud"
    assert terms.commercial_use == "no"
    assert "CC BY-NC" in terms.licence
    assert "COLING 2025" in terms.citation


def test_nothing_is_fetched_before_terms_are_accepted(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    (served / "a.csv").write_bytes(FRAUD)
    with serving(served) as (address, seen):
        files = [{"name": "a.csv", "address": f"{address}/a.csv", "sha256": sha256(FRAUD)}]
        path = write_registry(tmp_path, download=True, files=files)
        public_set = load_registry(path)["aset"]
        with pytest.raises(UserError, match="--accept-terms aset"):
            download_set(public_set, tmp_path / "data")
        assert not seen
        found = download_set(public_set, tmp_path / "data", accepted=["aset"])
        assert download_set(public_set, tmp_path / "data", accepted=["aset"]) == found
        assert seen == ["/a.csv"]
    assert found == tmp_path / "data/aset/a.csv"
    assert found.read_bytes() == FRAUD


def test_set_of_several_files_becomes_a_folder(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    for name in ("a.csv", "b.csv"):
        (served / name).write_bytes(FRAUD)
    with serving(served) as (address, _):
        files = [
            {"name": name, "address": f"{address}/{name}", "sha256": None}
            for name in ("a.csv", "b.csv")
        ]
        path = write_registry(tmp_path, download=True, files=files)
        found = download_set(load_registry(path)["aset"], tmp_path / "data", accepted=["aset"])
    assert sorted(path.name for path in found.iterdir()) == ["a.csv", "b.csv"]


def archived_set(tmp_path, address, members):
    archive = {"name": "set.zip", "address": f"{address}/set.zip", "sha256": None}
    files = [{**archive, "members": members}]
    return load_registry(write_registry(tmp_path, download=True, files=files))["aset"]


def test_archive_is_unpacked_into_a_folder_that_its_reader_takes(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    zip_of(
        served / "set.zip",
        {"set-HEAD/": b"", "set-HEAD/FR:Other": FRAUD, "set-HEAD/Other": OTHER, "set-HEAD/x": b""},
    )
    with serving(served) as (address, seen):
        members = {"FR:Other": sha256(FRAUD), "Other": None}
        public_set = archived_set(tmp_path, address, members)
        found = download_set(public_set, tmp_path / "data", accepted=["aset"])
        assert download_set(public_set, tmp_path / "data", accepted=["aset"]) == found
        assert seen == ["/set.zip"]
    source = parse_input(f"{public_set.format}:{found}")
    rows = list(source.reader(source.path, TableOptions()))
    assert [(row.text, row.label) for row in rows] == [("中奖了", "FR:Other"), ("开会", "Other")]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["aset"]


def test_member_with_a_wrong_checksum_leaves_nothing(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    zip_of(served / "set.zip", {"Other": OTHER})
    with serving(served) as (address, _):
        public_set = archived_set(tmp_path, address, {"Other": sha256(FRAUD)})
        with pytest.raises(UserError, match=f"{sha256(FRAUD)} of Other.*found {sha256(OTHER)}"):
            download_set(public_set, tmp_path / "data", accepted=["aset"])
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("name", ["ccl23", "message80w", "csms"])
def test_set_that_cannot_be_downloaded_says_how_to_get_it(tmp_path, name):
    item = REGISTRY[name]
    with pytest.raises(UserError, match=f"get it from .* {item.format}:PATH") as caught:
        download_set(item, tmp_path, accepted=[name])
    assert (item.home or "its owner") in str(caught.value)


def test_zip_bomb_is_refused_by_size_and_by_ratio(tmp_path):
    archive = zip_of(tmp_path / "bomb.zip", {"Other": b"0" * 1_000_000})
    with pytest.raises(UserError, match="made to fill the disk"):
        unpack(archive, tmp_path / "out", {"Other": None})
    with pytest.raises(UserError, match="made to fill the disk"):
        unpack(archive, tmp_path / "out", {"Other": None}, max_ratio=1e9, max_bytes=999_999)
    unpack(archive, tmp_path / "out", {"Other": None}, max_ratio=1e9)
    assert (tmp_path / "out/Other").stat().st_size == 1_000_000


def test_archive_that_lies_about_its_size_is_refused(tmp_path):
    archive = zip_of(tmp_path / "bomb.zip", {"Other": b"0" * 100_000})
    content = archive.read_bytes()
    size = (100_000).to_bytes(4, "little")
    assert content.count(size) == 2
    archive.write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(UserError, match="is damaged"):
        unpack(archive, tmp_path / "out", {"Other": None})
    assert [path.name for path in tmp_path.iterdir()] == ["bomb.zip"]


@pytest.mark.parametrize(
    "name", ["../Other", "a/../../Other", "/etc/Other", "..\\Other", "\\Other"]
)
def test_path_that_leads_out_is_refused(tmp_path, name):
    archive = zip_of(tmp_path / "evil.zip", {"Other": OTHER, name: FRAUD})
    with pytest.raises(UserError, match=f"inside the archive, found {re.escape(repr(name))}"):
        unpack(archive, tmp_path / "out", {"Other": None})
    assert [path.name for path in tmp_path.iterdir()] == ["evil.zip"]


def test_link_is_refused(tmp_path):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        link = zipfile.ZipInfo("Other")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        zipped.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match="a link or encrypted"):
        unpack(archive, tmp_path / "out", {"Other": None})


def test_thousands_of_entries_are_refused(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for number in range(10_001):
            zipped.writestr(str(number), b"")
    archive = tmp_path / "many.zip"
    archive.write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="found 10001 files"):
        unpack(archive, tmp_path / "out", {"0": None})


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_broken_archive_is_told(tmp_path, content):
    archive = tmp_path / "set.zip"
    archive.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        unpack(archive, tmp_path / "out", {"Other": None})


def test_missing_member_is_told(tmp_path):
    archive = zip_of(tmp_path / "set.zip", {"top/a": FRAUD, "top/b": OTHER})
    with pytest.raises(UserError, match="expected AD:Loan in"):
        unpack(archive, tmp_path / "out", {"a": None, "AD:Loan": None})
    assert not (tmp_path / "out").exists()


CHIFRAUD = 'Label_id\tText\n0\t玫瑰花茶\n8\t"说""快""办卡"\n没有标签\n11\t新\n\n3\t办证\t多余\n'


def test_chifraud_reads_its_folder_and_one_file(tmp_path):
    for name in ("ChiFraud_train.csv", "ChiFraud_t2022.csv", "ChiFraud_t2023.csv"):
        (tmp_path / name).write_text(CHIFRAUD, "utf-8")
    (tmp_path / "class.txt").write_text("0 正常\n", "utf-8")
    source = parse_input(f"chifraud:{tmp_path}")
    rows = list(source.reader(source.path, TableOptions()))
    assert source.source == "chifraud"
    assert len(rows) == 15
    one = parse_input(f"chifraud:{tmp_path / 'ChiFraud_t2023.csv'}")
    assert list(one.reader(one.path, TableOptions())) == rows[10:]
    assert [(row.line, row.text, row.label, row.problem) for row in rows[:5]] == [
        (2, "玫瑰花茶", "0", None),
        (3, '说"快"办卡', "8", None),
        (4, None, None, "no tab between label and text"),
        (5, None, None, "no label id from 0 to 10: found '11'"),
        (7, "办证", "3", None),
    ]


def test_chifraud_tells_bad_bytes(tmp_path):
    path = tmp_path / "ChiFraud_train.csv"
    path.write_bytes("Label_id\tText\n0\t好\n".encode() + b"1\t\xff\xfe\xff\n")
    rows = list(SOURCES["chifraud"](path, TableOptions()))
    assert [row.problem for row in rows] == [None, "undecodable bytes"]


def test_chifraud_tells_a_missing_file_and_another_header(tmp_path):
    path = tmp_path / "ChiFraud_train.csv"
    path.write_text("text,label\na,b\n", "utf-8")
    with pytest.raises(UserError, match=r"expected the header Label_id.*found 'text,label'"):
        list(SOURCES["chifraud"](path, TableOptions()))
    with pytest.raises(UserError, match=r"found no ChiFraud_t2022\.csv, ChiFraud_t2023\.csv at"):
        list(SOURCES["chifraud"](tmp_path, TableOptions()))
