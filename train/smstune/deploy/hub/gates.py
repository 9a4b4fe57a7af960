"""What must hold before a folder leaves the house."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from smstune.deploy.hub.card import CHINESE, ENGLISH
from smstune.deploy.hub.card_facts import unclear_terms
from smstune.errors import UserError, how_to_install
from smstune.inference.linear import LINEAR, LinearModel
from smstune.inference.manifest import MANIFEST, Manifest, mismatch, run_file
from smstune.inference.run import load_artifact
from smstune.text.pii.find import find_pii

if TYPE_CHECKING:
    from google.protobuf.message import Message

_DIGEST = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-f]{40}|[0-9a-f]{64})(?![0-9A-Za-z])")
#: Domains that nobody can own (RFC 2606).
_RESERVED = re.compile(r"(?:\.example|\.test|\.invalid|\bexample\.(?:com|net|org))(?:[:/]|$)")
#: In a vocabulary a piece such as 000000, 10086 or .com is no one's.
_PIECES = frozenset({"NUM", "SERVICE", "MONEY", "URL"})
#: Keys of a configuration that let a loader run code of the checkpoint's own.
_CODE_KEYS = frozenset({"auto_map", "chat_template", "custom_pipelines"})
#: A file's texts, each with the types of personal information that it may seem to hold.
Texts = Iterable[tuple[str, Set[str]]]


def check_folder(folder: Path) -> Manifest:
    """Refuse a folder that is not safe to pass on; return its manifest.

    Raises:
        UserError: if its parts do not belong together or a hash is wrong, a file is a link or none
            that the manifest names, wants code of its own, or holds personal information in a text:
            a text file's, a graph's, or what safetensors have besides numbers.
    """
    manifest = load_artifact(folder).manifest
    expected = {*manifest.sha256, MANIFEST, ENGLISH, CHINESE}
    for path in list_files(folder):
        name = path.relative_to(folder).as_posix()
        if name not in expected or path.is_symlink():
            raise UserError(
                f"expected the files that the manifest names and the model card only, found {name}"
                f"{', a link' if path.is_symlink() else ''}: remove it"
            )
        run_file(folder, manifest, name)
        check_file(path, name, manifest)
    return manifest


def check_terms(manifest: Manifest, *, accepted: bool) -> None:
    """Refuse data whose terms do not clearly allow passing a model on, unless accepted.

    Raises:
        UserError: naming each set with its licence, and what accepting means.
    """
    doubts = unclear_terms(manifest.data)
    if doubts and not accepted:
        raise UserError(
            f"expected data whose terms allow publishing, found {'; '.join(doubts)}. With "
            "--accept-terms you say that you have read the terms and answer for publishing; they "
            "stand in the model card"
        )


def check_masked(manifest: Manifest, *, allowed: bool) -> None:
    """Refuse a model that learned from messages as they were sent, unless that is allowed.

    Raises:
        UserError: saying what such a model may give away.
    """
    if not manifest.text.mask_pii and not allowed:
        raise UserError(
            "expected a run of messages whose personal information was masked, found one prepared "
            "with --keep-pii: the model has learned from real numbers and addresses. Prepare "
            "without it and train again, or publish with --allow-unmasked"
        )


def list_files(folder: Path) -> list[Path]:
    """Return every file below ``folder``, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def check_file(path: Path, name: str, manifest: Manifest) -> None:
    """Refuse a file of a folder to be published that is not what its name says or is not safe.

    Raises:
        UserError: if it wants code of its own, or its texts hold what may be a person's.
    """
    texts = {
        ".json": _texts_of_json,
        ".safetensors": _texts_of_tensors,
        ".onnx": _texts_of_graph,
    }.get(path.suffix, _lines)
    known = [str(value) for terms in manifest.data.get("terms", ()) for value in terms.values()]
    try:
        for number, (text, harmless) in enumerate(texts(path, name), 1):
            types = _personal(text, known) - harmless
            if types:
                advice = "export the run again" if path.suffix == ".onnx" else "remove it"
                raise UserError(
                    "expected no personal information in what is published, found "
                    f"{', '.join(sorted(types))} in {name}, text {number}: {advice}"
                )
    except (UnicodeDecodeError, json.JSONDecodeError, SafetensorError) as error:
        raise UserError(
            f"expected a whole file, found something else in {name}: {error}"
        ) from error


def _personal(text: str, known: Sequence[str]) -> set[str]:
    """Return the types of what may be a person's; checksums, reserved and known addresses not."""
    clean = _DIGEST.sub(" ", text)
    spans = [(clean[start:end], kind) for start, end, kind in find_pii(clean)]
    return {
        kind
        for found, kind in spans
        if kind != "URL"
        or not (_RESERVED.search(found) or any(found in address for address in known))
    }


def _lines(path: Path, _: str) -> Texts:
    """Return the lines of a text file, among them those of ``vocab.txt``."""
    harmless = _PIECES if path.name == "vocab.txt" else frozenset[str]()
    return [(line, harmless) for line in path.read_text("utf-8").splitlines()]


def _texts_of_json(path: Path, name: str) -> Texts:
    """Return all keys, strings and whole numbers of a JSON document.

    A measured number, with a fraction, is no one's. A whole one may be a telephone's, or a size.
    """
    content = json.loads(path.read_text("utf-8"))
    code = sorted(_CODE_KEYS & set(content)) if isinstance(content, dict) else []
    if code:
        raise UserError(
            f"expected a model without code of its own, found {', '.join(code)} in {name}: "
            "remove it and train again"
        )
    return _texts_within(content, _PIECES if name == "tokenizer.json" else frozenset())


def _texts_within(content: Any, harmless: Set[str]) -> Iterator[tuple[str, Set[str]]]:  # noqa: ANN401
    if isinstance(content, dict):
        for key, value in content.items():
            yield key, harmless
            yield from _texts_within(value, harmless)
    elif isinstance(content, list):
        for value in content:
            yield from _texts_within(value, harmless)
    elif isinstance(content, str):
        yield content, harmless
    elif isinstance(content, int):
        yield str(content), {*harmless, "NUM"}


def _texts_of_tensors(path: Path, name: str) -> Texts:
    """Return the metadata and the tensors' names, and of a linear model its vocabulary."""
    with safe_open(path, framework="numpy") as tensors:
        names, metadata = list(tensors.keys()), tensors.metadata() or {}
    texts = [text for pair in metadata.items() for text in pair] + names
    vocabulary = LinearModel.load(path).vectorizer.vocabulary_ if name == LINEAR else {}
    return [(text, frozenset[str]()) for text in texts] + [(gram, _PIECES) for gram in vocabulary]


def _texts_of_graph(path: Path, name: str) -> Texts:
    """Return every text of an onnx file: names, documentation, metadata, tensors of strings."""
    if not find_spec("onnx"):
        raise UserError(f"expected onnx to look into {name}, found none: {how_to_install('onnx')}")
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise mismatch(path.parent, f"{name} is no onnx file: {error}") from error
    if any(tensor.data_location == tensor.EXTERNAL for tensor in model.graph.initializer):
        raise UserError(f"expected the weights within {name}, found them in another file")
    return [(text, _PIECES) for text in _texts_of_message(model)]


def _texts_of_message(message: Message) -> Iterator[str]:
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        for item in values if field.name != "raw_data" else ():
            if field.type == field.TYPE_MESSAGE:
                yield from _texts_of_message(item)
            elif field.type in (field.TYPE_STRING, field.TYPE_BYTES):
                yield item if isinstance(item, str) else item.decode("utf-8", "replace")
