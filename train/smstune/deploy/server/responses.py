"""Error responses: JSON that says what was expected, what was found, and what to do."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

from smstune.language import LANGUAGES, Message, translated

#: Ends the connection after an answer.
CLOSE = {"Connection": "close"}


class Problem(BaseModel):
    """Why a request was refused."""

    expected: str
    found: str
    what_to_do: str


class RefusedError(StarletteHTTPException):
    """A request that is refused with a status and a ``Problem``, in the request's language.

    An ``HTTPException``, because FastAPI turns any other error raised while it reads a body into a
    400.
    """

    def __init__(
        self,
        status: int,
        expected: Message,
        actual: Message,
        what_to_do: Message,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, expected, headers)
        self._expected, self._actual, self._what_to_do = expected, actual, what_to_do

    def response(self, language: str) -> JSONResponse:
        """Return the HTTP response, its texts in ``language``."""
        problem = Problem(
            expected=translated(self._expected, language),
            found=translated(self._actual, language),
            what_to_do=translated(self._what_to_do, language),
        )
        headers = {**language_headers(language), **(self.headers or {})}
        return JSONResponse(problem.model_dump(), self.status_code, headers)


def request_language(accept_language: str) -> str:
    """Return ``zh`` or ``en``, whichever a request's Accept-Language prefers; ``en`` for neither.

    RFC 9110, 12.5.4, without the wildcard. Of equal qualities the first counts.
    """
    best, best_quality = "en", 0.0
    for item in accept_language.split(","):
        tag, _, parameter = item.partition(";")
        language = tag.strip().lower().partition("-")[0]
        quality = _quality(parameter)
        if language in LANGUAGES and quality > best_quality:
            best, best_quality = language, quality
    return best


def language_headers(language: str) -> dict[str, str]:
    """Return the headers of a response in ``language``, for caches."""
    return {"Content-Language": language, "Vary": "Accept-Language"}


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    try:
        return float(value) if name.strip().lower() == "q" else 1.0
    except ValueError:
        return 0.0


def failed() -> RefusedError:
    """Return the error for a failure of the server itself."""
    return RefusedError(
        500, Message("an answer"), Message("an internal error"), Message("see the server's log")
    )


def busy(expected: Message, actual: Message, seconds: int, *, close: bool = False) -> RefusedError:
    """Return the error for a request that can be retried after ``seconds``."""
    headers = {"Retry-After": str(seconds), **(CLOSE if close else {})}
    advice = Message("try again in {seconds} s", seconds=seconds)
    return RefusedError(503, expected, actual, advice, headers)


def add_handlers(app: FastAPI) -> None:
    """Let ``app`` answer every error with a ``Problem``."""

    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return error.response(_language(request))

    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(request, error).response(_language(request))

    async def by_status(request: Request, error: HTTPException) -> JSONResponse:
        actual = Message(
            "{method} {path}: {detail}",
            method=request.method,
            path=request.url.path,
            detail=error.detail,
        )
        refusal = RefusedError(
            error.status_code,
            Message("a request this server knows"),
            actual,
            Message("see /openapi.json for the available requests"),
            error.headers,
        )
        return refusal.response(_language(request))

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return failed().response(_language(request))

    app.add_exception_handler(RefusedError, refused)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]
    app.add_exception_handler(StarletteHTTPException, by_status)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, unforeseen)


def _language(request: Request) -> str:
    return request_language(request.headers.get("accept-language", ""))


def _invalid(request: Request, error: RequestValidationError) -> RefusedError:
    """Return the first error of a body, without the value, which may be part of a message."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        actual = Message(
            "invalid JSON at character {position}: {error}",
            position=first["loc"][-1],
            error=first["ctx"]["error"],
        )
        return RefusedError(422, Message("a body of JSON"), actual, Message("fix the JSON"))
    if request.url.path == "/v1/explain":
        expected = Message("a JSON object with text")
    elif request.url.path == "/v1/reports":
        expected = Message("a JSON object with reports, each with text and label")
    else:
        expected = Message("a JSON object with either text or texts")
    advice = Message("send JSON as /openapi.json has it, with Content-Type: application/json")
    return RefusedError(422, expected, _found(first["type"], first["loc"], first["input"]), advice)


def _found(problem: str, location: Sequence[str | int], value: object) -> Message:
    key = ".".join(map(str, location[1:]))
    if problem == "missing":
        return Message("no {key}", key=key) if key else Message("no body")
    if problem == "extra_forbidden":
        return Message("the unknown key {key}", key=key)
    if problem == "value_error":
        return Message("both of them or neither")
    type_name = type(value).__name__
    if not key:
        return Message("a body of the type {type_name}", type_name=type_name)
    return Message("{key} of the type {type_name}", key=key, type_name=type_name)


class WithoutValues(logging.Formatter):
    """Formats tracebacks without the error's text, which may quote a message."""

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """Return the stack and the type of the error."""
        kind, _, stack = ei
        name = kind.__name__ if kind else "no error"
        return "".join([*traceback.format_tb(stack), name])
