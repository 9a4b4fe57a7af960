"""Checks that a folder must pass before it is published."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from smstune.deploy.hub.card import CHINESE, ENGLISH
from smstune.deploy.hub.card_facts import terms_of_all, unclear_terms
from smstune.errors import UserError
from smstune.inference.linear import LINEAR, LinearModel
from smstune.inference.manifest import MANIFEST, Manifest, run_file
from smstune.inference.memory.entries import Entry
from smstune.inference.memory.folder import MEMORY, memory_stamp
from smstune.inference.memory.lookup import open_memory
from smstune.inference.run import load_run
from smstune.language import Message, joined
from smstune.text.pii.find import find_pii

if TYPE_CHECKING:
    from google.protobuf.message import Message as ProtobufMessage

#: A cell of a Markdown table with a number that has a fraction: a measurement, as in JSON.
_MEASUREMENT = re.compile(r"(?<=\|) [\d,]*\d\.\d+ (?=\|)")
_DIGEST = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-f]{40}|[0-9a-f]{64})(?![0-9A-Za-z])")
#: Domains reserved for examples and tests (RFC 2606).
_RESERVED = re.compile(r"(?:\.example|\.test|\.invalid|\bexample\.(?:com|net|org))(?:[:/]|$)")
#: Types that vocabulary entries such as 000000, 10086 or .com resemble.
_VOCABULARY_TYPES = frozenset({"NUM", "SERVICE", "MONEY", "URL"})
#: Keys of a configuration that make a loader run the checkpoint's own code.
_CODE_KEYS = frozenset({"auto_map", "chat_template", "custom_pipelines"})
#: A file's texts, each with the types of personal information that are false alarms in it.
Texts = Iterable[tuple[str, Set[str]]]


def check_folder(folder: Path) -> Manifest:
    """Return the manifest of a folder after checking that the folder is safe to publish.

    Raises:
        UserError: if a hash is wrong; a file is a link, is not named by the manifest, or needs its
            own code; or a text contains personal information, be it in a text file, in a graph, or
            in the names and metadata of safetensors.
    """
    run = load_run(folder)
    manifest = run.manifest
    expected = {*manifest.sha256, MANIFEST, ENGLISH, CHINESE}
    if memory_stamp(folder) is not None:
        # Checked as it is for an answer; it has a manifest of its own.
        memory = open_memory(folder, run.labels)
        expected |= {f"{MEMORY}/{name}" for name in memory.file_names} if memory else set()
    for path in list_files(folder):
        name = path.relative_to(folder).as_posix()
        if name not in expected or path.is_symlink():
            problem = (
                Message("{name} is a link", name=name)
                if path.is_symlink()
                else Message("{name} is not named by the manifest", name=name)
            )
            raise UserError(
                "{problem}; only the files that the manifest names and the model card are "
                "published: remove it",
                problem=problem,
            )
        run_file(folder, manifest, name)
        check_file(path, name, manifest)
    return manifest


def check_terms(manifest: Manifest, *, accepted: bool) -> None:
    """Refuse data whose terms do not clearly allow publishing a model, unless accepted.

    Raises:
        UserError: naming each data set with its licence, and what accepting means.
    """
    doubts = unclear_terms(manifest)
    if doubts and not accepted:
        raise UserError(
            "the terms of the data may not allow publishing: {doubts}. With "
            "--accept-terms you confirm that you have read the terms and take responsibility for "
            "publishing; the model card lists them",
            doubts=joined(doubts, "; "),
        )


def check_masked(manifest: Manifest, *, allowed: bool) -> None:
    """Refuse a model trained on unmasked messages, unless that is allowed.

    Raises:
        UserError: explaining what such a model may reveal.
    """
    pretraining = manifest.pretraining
    if pretraining is not None and not pretraining.mask_pii and not allowed:
        raise UserError(
            "the encoder was pretrained with prepare.mask_pii=false, so it has read real numbers "
            "and addresses: pretrain with masks and train again, or publish with --allow-unmasked"
        )
    if not manifest.text.mask_pii and not allowed:
        raise UserError(
            "the messages were prepared with --keep-pii, so the model has learned from real "
            "numbers and addresses: prepare without it and train again, or publish with "
            "--allow-unmasked"
        )


def list_files(folder: Path) -> list[Path]:
    """Return every file below ``folder``, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def check_file(path: Path, name: str, manifest: Manifest) -> None:
    """Refuse a file that cannot be read by its suffix or is not safe to publish.

    Raises:
        UserError: if it needs its own code, or a text of it contains personal information.
    """
    texts = {
        ".json": _texts_of_json,
        ".jsonl": _texts_of_entries,
        ".safetensors": _texts_of_tensors,
        ".onnx": _texts_of_graph,
    }.get(path.suffix, _lines)
    terms_texts = [
        str(text) for terms in terms_of_all(manifest) or () for text in terms.to_json().values()
    ]
    try:
        for number, (text, harmless) in enumerate(texts(path, name), 1):
            types = _personal(text, terms_texts) - harmless
            if types:
                if path.suffix == ".onnx":
                    advice = Message("export the run again")
                else:
                    advice = Message("remove it")
                raise UserError(
                    "personal information ({types}) in {name}, text {number}, which would be "
                    "published: {advice}",
                    types=", ".join(sorted(types)),
                    name=name,
                    number=number,
                    advice=advice,
                )
    except (UnicodeDecodeError, json.JSONDecodeError, SafetensorError) as error:
        raise UserError("{name} is damaged: {error}", name=name, error=error) from error


def _personal(text: str, terms_texts: Sequence[str]) -> set[str]:
    """Return the types of personal information in a text.

    Ignores checksums, measurements in tables, reserved domains, and addresses in the terms of the
    data.
    """
    clean = _MEASUREMENT.sub(" ", _DIGEST.sub(" ", text))
    spans = [(clean[span.start : span.end], span.type) for span in find_pii(clean)]
    return {
        kind
        for span, kind in spans
        if kind != "URL"
        or not (_RESERVED.search(span) or any(span in terms for terms in terms_texts))
    }


def _lines(path: Path, _: str) -> Texts:
    """Return the lines of a text file, ``vocab.txt`` included."""
    harmless = _VOCABULARY_TYPES if path.name == "vocab.txt" else frozenset[str]()
    return [(line, harmless) for line in path.read_text("utf-8").splitlines()]


def _texts_of_json(path: Path, name: str) -> Texts:
    """Return all keys, strings and whole numbers of a JSON document.

    Numbers with a fraction are measurements; a whole number may be a telephone number.
    """
    content = json.loads(path.read_text("utf-8"))
    code = sorted(_CODE_KEYS & set(content)) if isinstance(content, dict) else []
    if code:
        raise UserError(
            "{name} has {code}, which makes loaders run the model's own code: remove "
            "it and train again",
            name=name,
            code=", ".join(code),
        )
    return _texts_within(content, _VOCABULARY_TYPES if name == "tokenizer.json" else frozenset())


def _texts_of_entries(path: Path, _: str) -> Texts:
    """Return what people wrote about the campaigns of a memory; the rest is numbers and times."""
    entries = map(Entry.model_validate_json, path.read_text("utf-8").splitlines())
    return [(entry.reason or "", frozenset[str]()) for entry in entries]


def _texts_within(content: object, harmless: Set[str]) -> Iterator[tuple[str, Set[str]]]:
    if isinstance(content, dict):
        for key, member in content.items():
            yield key, harmless
            yield from _texts_within(member, harmless)
    elif isinstance(content, list):
        for member in content:
            yield from _texts_within(member, harmless)
    elif isinstance(content, str):
        yield content, harmless
    elif isinstance(content, int):
        yield str(content), {*harmless, "NUM"}


def _texts_of_tensors(path: Path, name: str) -> Texts:
    """Return the metadata, the names of the tensors, and a linear model's vocabulary."""
    with safe_open(path, framework="numpy") as tensors:
        names, metadata = list(tensors.keys()), tensors.metadata() or {}
    texts = [text for pair in metadata.items() for text in pair] + names
    vocabulary = LinearModel.load(path).vocabulary if name == LINEAR else ()
    return [(text, frozenset[str]()) for text in texts] + [
        (gram, _VOCABULARY_TYPES) for gram in vocabulary
    ]


def _texts_of_graph(path: Path, name: str) -> Texts:
    """Return all texts of an onnx file: names, documentation, metadata, string tensors."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise UserError(
            "{name} is not an onnx file ({error}): export the run again", name=name, error=error
        ) from error
    if any(tensor.data_location == tensor.EXTERNAL for tensor in model.graph.initializer):
        raise UserError("{name} keeps its weights in another file: export the run again", name=name)
    return [(text, _VOCABULARY_TYPES) for text in _texts_of_message(model)]


def _texts_of_message(message: ProtobufMessage) -> Iterator[str]:
    for field, content in message.ListFields():
        members = content if field.is_repeated else [content]
        for member in members if field.name != "raw_data" else ():
            if field.type == field.TYPE_MESSAGE:
                yield from _texts_of_message(member)
            elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
                yield member if isinstance(member, str) else member.decode("utf-8", "replace")
