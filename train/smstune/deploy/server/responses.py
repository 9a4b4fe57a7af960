"""Error responses: JSON that says what was expected, what was found, and what to do."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from types import TracebackType

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteHTTPException

#: Ends the connection after an answer.
CLOSE = {"Connection": "close"}


class Problem(BaseModel):
    """Why a request was refused."""

    expected: str
    found: str
    what_to_do: str


class RefusedError(StarletteHTTPException):
    """A request that is refused with a status and a ``Problem``.

    An ``HTTPException``, because FastAPI turns any other error raised while it reads a body into a
    400.
    """

    def __init__(
        self,
        status: int,
        expected: str,
        actual: str,
        what_to_do: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, expected, headers)
        self.problem = Problem(expected=expected, found=actual, what_to_do=what_to_do)

    def response(self) -> JSONResponse:
        """Return the HTTP response."""
        return JSONResponse(self.problem.model_dump(), self.status_code, self.headers)


def failed() -> RefusedError:
    """Return the error for a failure of the server itself."""
    return RefusedError(500, "an answer", "an internal error", "see the server's log")


def busy(expected: str, actual: str, seconds: int, *, close: bool = False) -> RefusedError:
    """Return the error for a request that can be retried after ``seconds``."""
    headers = {"Retry-After": str(seconds), **(CLOSE if close else {})}
    return RefusedError(503, expected, actual, f"try again in {seconds} s", headers)


def add_handlers(app: FastAPI) -> None:
    """Let ``app`` answer every error with a ``Problem``."""

    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return error.response()

    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error).response()

    async def by_status(request: Request, error: HTTPException) -> JSONResponse:
        actual = f"{request.method} {request.url.path}: {error.detail}"
        advice = "see /openapi.json for the available requests"
        return RefusedError(
            error.status_code, "a request this server knows", actual, advice, error.headers
        ).response()

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return failed().response()

    app.add_exception_handler(RefusedError, refused)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]
    app.add_exception_handler(StarletteHTTPException, by_status)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, unforeseen)


def _invalid(error: RequestValidationError) -> RefusedError:
    """Return the first error of a body, without the value, which may be part of a message."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        error_position = f"invalid JSON at character {first['loc'][-1]}: {first['ctx']['error']}"
        return RefusedError(422, "a body of JSON", error_position, "fix the JSON")
    path = ".".join(map(str, first["loc"]))
    actual = f"{type(first.get('input')).__name__} at {path}"
    if first["type"] == "missing":
        actual = f"no {path}"
    elif first["type"] in ("extra_forbidden", "value_error"):
        actual = path
    advice = "send a JSON object as /openapi.json has it, with Content-Type: application/json"
    return RefusedError(422, first["msg"].removeprefix("Value error, "), actual, advice)


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
