"""Downloads a file over HTTPS: resumed after an interruption, checked, and put in place whole."""

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
from smstune.language import Message

logger = logging.getLogger(__name__)

#: The largest file that is accepted.
MAX_BYTES = 2 << 30
_MAX_REDIRECTS = 5
_MAX_WAIT = 30.0
#: Fewer bytes than this in one timeout is a stall, even if a byte comes now and then.
_MIN_BYTES = 1024
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)$")


class _RetryError(Exception):
    """This attempt failed for ``reason``; another one may not."""

    def __init__(self, reason: Message) -> None:
        super().__init__(reason)
        self.reason = reason


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    timeout: float = 30.0,
    attempts: int = 5,
    backoff: float = 1.0,
) -> Path:
    """Download ``url`` to ``target`` and return it; the file appears only once it is complete.

    If the connection fails, the bytes received are kept in ``<target>.part``; the next attempt, or
    the next run, resumes if the server still has the same file. An existing ``target`` is used if
    its checksum is right or none is known.

    Args:
        url: HTTPS; plain HTTP only on this machine. The same holds for redirects.
        target: The file to write.
        sha256: Hexadecimal checksum, where one is known.
        timeout: Seconds to wait for a connection, and for at least 1 KiB of the body.
        attempts: How often to try before giving up.
        backoff: Seconds before the second attempt, doubled before each further one.

    Raises:
        UserError: if the address is not allowed, the server has no such file, every attempt failed,
            the file is larger than ``MAX_BYTES`` or the free space, or its checksum is wrong.
    """
    require_safe_address(url)
    if target.exists():
        return _existing(target, sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = _PartialFile(target, url)
    headers = {"Accept-Encoding": "identity", "User-Agent": f"smstune/{__version__}"}
    # A proxy set in the environment is for the internet, not for this machine.
    with httpx2.Client(timeout=timeout, headers=headers, trust_env=not _is_loopback(url)) as client:
        for attempt in range(1, attempts + 1):
            reason = _attempt(client, partial, timeout)
            if reason is None:
                break
            if attempt == attempts:
                raise UserError(
                    "expected {name} from {url}, gave up after {attempts} attempts "
                    "({reason}): check the connection and run again; {size} bytes are "
                    "kept in {path}",
                    name=target.name,
                    url=url,
                    attempts=attempts,
                    reason=reason,
                    size=partial.size,
                    path=partial.path,
                )
            wait = min(backoff * 2 ** (attempt - 1), _MAX_WAIT)
            logger.warning("%s: %s; trying again in %g s", target.name, reason, wait)
            time.sleep(wait)
    actual = file_hash(partial.path)
    if sha256 is not None and actual != sha256.lower():
        partial.delete()
        raise UserError(
            "expected SHA-256 {sha256} of {url}, found {actual}: the file was changed at its "
            "source or on the way; it was deleted: try again, and if that does not help, look at "
            "the set's home page before you correct configs/sources.yaml",
            sha256=sha256,
            url=url,
            actual=actual,
        )
    if sha256 is None:
        logger.info("%s: no SHA-256 is known to compare with, found %s", target.name, actual)
    partial.path.replace(target)
    partial.delete()
    return target


def require_safe_address(url: str) -> None:
    """Check that an address is HTTPS, or HTTP on this machine.

    Raises:
        UserError: if it is neither.
    """
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise UserError(
            "expected an https:// address, found {url!r}: {error}", url=url, error=error
        ) from error
    if not (parsed.host and (parsed.scheme == "https" or _is_loopback(url))):
        raise UserError(
            "expected an https:// address (http:// only on this machine), found {url!r}", url=url
        )


class _PartialFile:
    """The incomplete file, and beside it a note by which the server recognises the same version."""

    def __init__(self, target: Path, url: str) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.etag")
        self.url = url

    @property
    def size(self) -> int:
        """Bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def validator(self) -> str | None:
        """The ETag or date of the bytes received; without one the download cannot be resumed."""
        if not self.size or not self._note.exists():
            return None
        url, _, validator = self._note.read_text("utf-8").partition("\n")
        return validator if url == self.url and validator else None

    def remember(self, validator: str | None) -> None:
        self._note.write_text(f"{self.url}\n{validator or ''}", "utf-8")

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _attempt(client: httpx2.Client, partial: _PartialFile, timeout: float) -> str | None:
    """Make one attempt; return why it failed if it may be retried, ``None`` if it succeeded."""
    try:
        _receive(client, partial, timeout)
    except _RetryError as error:
        return error.reason
    except httpx2.TransportError as error:
        return str(error) or type(error).__name__
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(partial.path, None) from error
        raise
    return None


def _receive(client: httpx2.Client, partial: _PartialFile, timeout: float) -> None:
    """Make one attempt to complete ``partial``."""
    validator = partial.validator
    received = partial.size if validator else 0
    headers = {"Range": f"bytes={received}-", "If-Range": validator} if validator else {}
    with _opened(client, partial.url, headers) as response:
        start, total = _extent(response, received, validator, partial)
        if total is not None and total > MAX_BYTES:
            raise _too_large(partial.url, total)
        if total is not None and total - start > shutil.disk_usage(partial.path.parent).free:
            raise _no_space(partial.path, total - start)
        with (
            partial.path.open("ab" if start else "wb") as sink,
            tqdm(
                total=total, initial=start, unit="B", unit_scale=True, desc=partial.path.stem
            ) as bar,
        ):
            # Only once the old bytes are deleted, or they would pass for the new file's.
            partial.remember(_validator(response))
            for chunk in _chunks(response, timeout):
                sink.write(chunk)
                bar.update(len(chunk))
                start += len(chunk)
                if start > MAX_BYTES:
                    partial.delete()
                    raise _too_large(partial.url, start)
    if total is not None and start != total:
        raise _RetryError(
            Message(
                "cut off: expected {total} bytes, found {received}", total=total, received=start
            )
        )


@contextmanager
def _opened(
    client: httpx2.Client, url: str, headers: Mapping[str, str]
) -> Iterator[httpx2.Response]:
    """Open ``url`` and follow redirects to addresses that are as safe."""
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
                raise UserError(
                    "{url} leads to another address: {error}", url=url, error=error
                ) from error
        if _is_loopback(following) and not may_be_local:
            raise UserError(
                "{url} redirects to {following}, which is no public address",
                url=url,
                following=following,
            )
        url = following
    raise UserError(
        "expected at most {max_redirects} redirects, found more at {url}",
        max_redirects=_MAX_REDIRECTS,
        url=url,
    )


def _extent(
    response: httpx2.Response, received: int, validator: str | None, partial: _PartialFile
) -> tuple[int, int | None]:
    """Return where the body of ``response`` begins in the file, and the file's size if known."""
    status = response.status_code
    if status in (408, 429) or status >= 500:
        raise _RetryError(Message("the server answered {status}", status=status))
    if status == 416:
        partial.delete()
        raise _RetryError(
            Message("the server has no more bytes than were received: starting again")
        )
    if status not in (200, 206):
        raise UserError(
            "expected a file at {url}, the server answered {status}: it may have moved; "
            "download it by hand from the set's home page and give its path",
            url=response.url,
            status=status,
        )
    if (coding := response.headers.get("content-encoding", "identity")) != "identity":
        raise UserError(
            "expected {url} unencoded, the server sent it as {coding}",
            url=response.url,
            coding=coding,
        )
    if status == 200:
        length = response.headers.get("content-length", "")
        return 0, int(length) if length.isdecimal() else None
    match = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
    if not received or not match or int(match[1]) != received or _validator(response) != validator:
        partial.delete()
        raise _RetryError(Message("the file changed between attempts: starting again"))
    return received, None if match[2] == "*" else int(match[2])


def _validator(response: httpx2.Response) -> str | None:
    """Return the strong ETag or the date of a response; a weak ETag may not be used to resume."""
    etag: str = response.headers.get("etag", "")
    if etag.startswith('"') and etag.isascii():
        return etag
    return response.headers.get("last-modified")


def _chunks(response: httpx2.Response, timeout: float) -> Iterator[bytes]:
    """Yield the body as it arrives; a connection that is too slow ends the attempt."""
    begin, received = time.monotonic(), 0
    for chunk in response.iter_raw():
        received += len(chunk)
        yield chunk
        if time.monotonic() - begin >= timeout:
            if received < _MIN_BYTES:
                raise _RetryError(
                    Message(
                        "stalled: {received} bytes in {timeout:g} s",
                        received=received,
                        timeout=timeout,
                    )
                )
            begin, received = time.monotonic(), 0


def _existing(target: Path, sha256: str | None) -> Path:
    if sha256 is not None and (actual := file_hash(target)) != sha256.lower():
        raise UserError(
            "expected SHA-256 {sha256} of {target}, found {actual}: remove it to download it again",
            sha256=sha256,
            target=target,
            actual=actual,
        )
    logger.info("%s exists already", target)
    return target


def _is_loopback(url: str) -> bool:
    parsed = httpx2.URL(url)
    return parsed.scheme == "http" and parsed.host in ("localhost", "127.0.0.1", "::1")


def _too_large(url: str, size: int) -> UserError:
    return UserError(
        "expected at most {max_bytes} bytes from {url}, found {size} or more",
        max_bytes=MAX_BYTES,
        url=url,
        size=size,
    )


def _no_space(path: Path, needed: int | None) -> UserError:
    if needed is None:
        return UserError("not enough space for {path}: free more on its disk", path=path)
    return UserError(
        "not enough space for {path}: free {needed} bytes on its disk", path=path, needed=needed
    )
