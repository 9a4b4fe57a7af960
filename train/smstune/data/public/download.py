"""Fetch a file over HTTPS: resumed where it was cut off, checked, and there whole or not at all."""

from __future__ import annotations

import errno
import logging
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
from tqdm import tqdm

from smstune import __version__
from smstune.errors import UserError
from smstune.files import file_hash

logger = logging.getLogger(__name__)

MAX_BYTES = 2 << 30
_MAX_REDIRECTS = 5
_MAX_WAIT = 30.0
#: Fewer bytes than this in one timeout is a stall, even if a byte comes now and then.
_LEAST_BYTES = 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)$")


class _RetryError(Exception):
    """This attempt failed; another one may not."""


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    timeout: float = 30.0,
    attempts: int = 5,
    backoff: float = 1.0,
    max_bytes: int = MAX_BYTES,
) -> Path:
    """Fetch ``url`` to ``target`` and return it; nothing stands there before it is whole.

    What came is kept in ``<target>.part`` when the connection fails; the next attempt, or the next
    run, goes on from there if the server still has the same file. A ``target`` that exists is taken
    as it is when its checksum fits or none is known.

    Args:
        url: HTTPS; plain HTTP only on this machine. Redirects are held to the same.
        target: The file to write.
        sha256: Hexadecimal checksum, where one is known.
        timeout: Seconds to wait for a connection, and for at least 1 KiB of the body.
        attempts: How often to try before giving up.
        backoff: Seconds before the second attempt, doubled before each further one.
        max_bytes: The largest file to accept.

    Raises:
        UserError: if the address is not allowed, the server has no such file, every attempt failed,
            the file is too large for the limit or the disk, or its checksum is wrong.
    """
    require_safe_address(url)
    if target.exists():
        return _existing(target, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _Part(target, url)
    headers = {"Accept-Encoding": "identity", "User-Agent": f"smstune/{__version__}"}
    # A proxy set in the environment is for the net, not for this machine.
    with httpx2.Client(timeout=timeout, headers=headers, trust_env=not _is_loopback(url)) as client:
        for attempt in range(1, attempts + 1):
            reason = _attempt(client, url, part, timeout, max_bytes)
            if reason is None:
                break
            if attempt == attempts:
                raise UserError(
                    f"expected {target.name} from {url}, gave up after {attempts} attempts "
                    f"({reason}): check the connection and run again; {part.size} bytes were "
                    f"kept in {part.path}"
                )
            wait = min(backoff * 2 ** (attempt - 1), _MAX_WAIT)
            logger.warning("%s: %s; trying again in %g s", target.name, reason, wait)
            time.sleep(wait)
    found = file_hash(part.path)
    if sha256 is not None and found != sha256.lower():
        part.forget()
        raise UserError(
            f"expected SHA-256 {sha256} of {url}, found {found}: the file was changed at its "
            "source or on the way; it was deleted: try again, and if it stays so, look at the "
            "set's home page before you correct configs/sources.yaml"
        )
    if sha256 is None:
        logger.info("%s: no SHA-256 is known to compare with, found %s", target.name, found)
    part.path.replace(target)
    part.forget()
    return target


def require_safe_address(url: str) -> None:
    """Refuse an address that is neither HTTPS nor HTTP on this machine.

    Raises:
        UserError: saying so.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise UserError(f"expected an https:// address, found {url!r}: {error}") from error
    if not (parsed.host and (parsed.scheme == "https" or _is_loopback(url))):
        raise UserError(
            f"expected an https:// address (http:// only on this machine), found {url!r}"
        )


class _Part:
    """The unfinished file, and beside it what says whether the server still has the same one."""

    def __init__(self, target: Path, url: str) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.etag")
        self._url = url

    @property
    def size(self) -> int:
        """Bytes at hand."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str | None:
        """The ETag or date that goes with the bytes at hand; without one they are of no use."""
        if not self.size or not self._note.exists():
            return None
        url, _, validator = self._note.read_text("utf-8").partition("\n")
        return validator if url == self._url and validator else None

    def remember(self, validator: str | None) -> None:
        self._note.write_text(f"{self._url}\n{validator or ''}", "utf-8")

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _attempt(
    client: httpx2.Client, url: str, part: _Part, timeout: float, max_bytes: int
) -> str | None:
    """Return why an attempt failed that is worth another one, ``None`` if ``part`` is complete."""
    try:
        _receive(client, url, part, timeout, max_bytes)
    except (_RetryError, httpx2.TransportError) as error:
        return str(error) or type(error).__name__
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(part.path, None) from error
        raise
    return None


def _receive(client: httpx2.Client, url: str, part: _Part, timeout: float, max_bytes: int) -> None:
    """Make one attempt to complete ``part``."""
    validator = part.validator
    have = part.size if validator else 0
    headers = {"Range": f"bytes={have}-", "If-Range": validator} if validator else {}
    with _opened(client, url, headers) as response:
        start, total = _extent(response, have, validator, part)
        if total is not None and total > max_bytes:
            raise _too_large(url, total, max_bytes)
        if total is not None and total - start > shutil.disk_usage(part.path.parent).free:
            raise _no_space(part.path, total - start)
        with (
            part.path.open("ab" if start else "wb") as sink,
            tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=part.path.stem) as bar,
        ):
            # After the old bytes are gone and not before, lest they be taken for the new file's.
            part.remember(_validator(response))
            for chunk in _chunks(response, timeout):
                sink.write(chunk)
                bar.update(len(chunk))
                start += len(chunk)
                if start > max_bytes:
                    part.forget()
                    raise _too_large(url, start, max_bytes)
    if total is not None and start != total:
        raise _RetryError(f"cut off: expected {total} bytes, found {start}")


@contextmanager
def _opened(
    client: httpx2.Client, url: str, headers: Mapping[str, str]
) -> Iterator[httpx2.Response]:
    """Open ``url``, following redirects to addresses that are as safe as it is."""
    may_be_local = _is_loopback(url)
    for _ in range(_MAX_REDIRECTS + 1):
        with client.stream("GET", url, headers=headers) as response:
            if not response.has_redirect_location:
                yield response
                return
            try:
                following = str(httpx2.URL(url).join(response.headers["location"]))
                require_safe_address(following)
            except (httpx2.InvalidURL, UserError) as error:
                raise UserError(f"{url} leads to another address: {error}") from error
        if _is_loopback(following) and not may_be_local:
            raise UserError(f"expected a public address behind {url}, found {following}")
        url = following
    raise UserError(f"expected at most {_MAX_REDIRECTS} redirects, found more at {url}")


def _extent(
    response: httpx2.Response, have: int, validator: str | None, part: _Part
) -> tuple[int, int | None]:
    """Return where the body of ``response`` begins in the file, and the file's size if known."""
    status = response.status_code
    if status in (408, 429) or status >= 500:
        raise _RetryError(f"the server answered {status}")
    if status == 416:
        part.forget()
        raise _RetryError("the server has no bytes beyond those at hand: beginning anew")
    if status not in (200, 206):
        raise UserError(
            f"expected a file at {response.url}, the server answered {status}: it may have moved; "
            "download it by hand from the set's home page and give its path"
        )
    if (coding := response.headers.get("content-encoding", "identity")) != "identity":
        raise UserError(f"expected {response.url} as it is, the server sent it as {coding}")
    if status == 200:
        length = response.headers.get("content-length", "")
        return 0, int(length) if length.isdecimal() else None
    match = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
    if not have or not match or int(match[1]) != have or _validator(response) != validator:
        part.forget()
        raise _RetryError("the file changed between attempts: beginning anew")
    return have, None if match[2] == "*" else int(match[2])


def _validator(response: httpx2.Response) -> str | None:
    """Return the strong ETag or the date of a response; a weak ETag may not be used to resume."""
    etag: str = response.headers.get("etag", "")
    if etag.startswith('"') and etag.isascii():
        return etag
    return response.headers.get("last-modified")


def _chunks(response: httpx2.Response, timeout: float) -> Iterator[bytes]:
    """Yield the body as it comes, and give up on one that only trickles."""
    begin, received = time.monotonic(), 0
    for chunk in response.iter_raw():
        received += len(chunk)
        yield chunk
        if time.monotonic() - begin >= timeout:
            if received < _LEAST_BYTES:
                raise _RetryError(f"stalled: {received} bytes in {timeout:g} s")
            begin, received = time.monotonic(), 0


def _existing(target: Path, sha256: str | None) -> Path:
    if sha256 is not None and (found := file_hash(target)) != sha256.lower():
        raise UserError(
            f"expected SHA-256 {sha256} of {target}, found {found}: remove it to download it anew"
        )
    logger.info("%s is there already", target)
    return target


def _is_loopback(url: str) -> bool:
    parsed = httpx2.URL(url)
    return parsed.scheme == "http" and parsed.host in ("localhost", "127.0.0.1", "::1")


def _too_large(url: str, found: int, limit: int) -> UserError:
    return UserError(f"expected at most {limit} bytes from {url}, found {found} or more")


def _no_space(path: Path, needed: int | None) -> UserError:
    need = "more space" if needed is None else f"{needed} bytes"
    return UserError(f"expected {need} for {path}, found too little on its disk: free some")
