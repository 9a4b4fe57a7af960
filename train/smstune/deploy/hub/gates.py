"""What must hold before a folder leaves the house."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from smstune.deploy.hub.card import CHINESE, ENGLISH
from smstune.deploy.hub.card_facts import unclear_terms
from smstune.errors import UserError
from smstune.inference.manifest import MANIFEST, NAMED, Manifest
from smstune.inference.run import load_artifact
from smstune.text.pii.find import find_pii

_TEXT = (".json", ".md", ".txt")
#: Of an onnx graph's own tensors (``.data``) and of safetensors any first bytes are possible.
_TENSORS = (".safetensors", ".data")
#: How a pickle (protocol 2 and up) and a zip archive, which torch.save writes, begin.
_PICKLED = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
_DIGEST = re.compile(r"(?<![0-9A-Za-z])(?:[0-9a-f]{40}|[0-9a-f]{64})(?![0-9A-Za-z])")
#: Domains that nobody can own (RFC 2606).
_RESERVED = re.compile(r"(?:\.example|\.test|\.invalid|\bexample\.(?:com|net|org))(?:[:/]|$)")
#: In a vocabulary a piece such as 000000, 10086 or .com is no one's.
_PIECES = frozenset({"NUM", "SERVICE", "MONEY", "URL"})


def check_folder(folder: Path) -> Manifest:
    """Refuse a folder that is not safe to pass on; return its manifest.

    Raises:
        UserError: if its parts do not belong together or a hash is wrong, a file is none that a
            published folder has, something is pickled or wants code of its own, or a text file
            holds personal information.
    """
    manifest = load_artifact(folder).manifest
    for path in list_files(folder):
        name = path.relative_to(folder).as_posix()
        expected = name in (*NAMED, MANIFEST, ENGLISH, CHINESE)
        if not expected or path.suffix not in (*_TEXT, *_TENSORS, ".onnx"):
            raise UserError(
                f"expected safetensors, onnx and the text files of a published folder only, found "
                f"{name}: remove it"
            )
        if path.suffix not in _TENSORS:
            _refuse_pickle(path, name)
        if path.suffix in _TEXT:
            _refuse_pii(path, name, manifest.data)
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


def list_files(folder: Path) -> list[Path]:
    """Return every file below ``folder``, sorted."""
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _refuse_pickle(path: Path, name: str) -> None:
    with path.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(_PICKLED):
        raise UserError(
            f"expected a file that runs no code when it is loaded, found {name}, which is a pickle "
            "or an archive: remove it"
        )


def _refuse_pii(path: Path, name: str, data: Mapping[str, Any]) -> None:
    passes = _PIECES if name == "tokenizer.json" else frozenset()
    try:
        text = path.read_text("utf-8")
        if path.suffix == ".json":
            content = json.loads(text)
            parts, unit = _texts(content, passes), "entry"
            if isinstance(content, dict) and "auto_map" in content:
                raise UserError(
                    f"expected a model without code of its own, found auto_map in {name}: remove it"
                )
        else:
            parts, unit = ((line, passes) for line in text.splitlines()), "line"
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"expected text, found something else in {name}: {error}") from error
    known = [str(value) for terms in data.get("terms", ()) for value in terms.values()]
    for number, (line, harmless) in enumerate(parts, 1):
        kinds = _personal(line, known) - harmless
        if kinds:
            raise UserError(
                "expected no personal information in what is published, found "
                f"{', '.join(sorted(kinds))} in {name}, {unit} {number}: remove it from the run"
            )


def _personal(line: str, known: Sequence[str]) -> set[str]:
    """Return the types of what may be a person's; checksums, reserved and known addresses not."""
    clean = _DIGEST.sub(" ", line)
    spans = [(clean[start:end], kind) for start, end, kind in find_pii(clean)]
    return {
        kind
        for found, kind in spans
        if kind != "URL"
        or not (_RESERVED.search(found) or any(found in address for address in known))
    }


def _texts(content: Any, passes: Set[str]) -> Iterator[tuple[str, Set[str]]]:  # noqa: ANN401
    """Yield all keys, strings and whole numbers of a JSON document, and the types that may pass.

    A measured number, with a fraction, is no one's. A whole one may be a telephone's, or a size.
    """
    if isinstance(content, dict):
        for key, value in content.items():
            yield key, passes
            yield from _texts(value, passes)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value, passes)
    elif isinstance(content, str):
        yield content, passes
    elif isinstance(content, int):
        yield str(content), {*passes, "NUM"}
