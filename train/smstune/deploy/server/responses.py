"""Answers of the server to what it does not take: JSON that says what was expected and found."""

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
    """Why a request was turned away."""

    expected: str
    found: str
    what_to_do: str


class RefusedError(StarletteHTTPException):
    """A request that is turned away with a status and a ``Problem``.

    An ``HTTPException``, as FastAPI makes a 400 of any other that is raised while it reads a body.
    """

    def __init__(
        self,
        status: int,
        expected: str,
        found: str,
        what_to_do: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, expected, headers)
        self.problem = Problem(expected=expected, found=found, what_to_do=what_to_do)

    def response(self) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.problem.model_dump(), self.status_code, self.headers)


def failed() -> RefusedError:
    """Return the answer where the server is to blame."""
    return RefusedError(500, "an answer", "an error of the server", "look into the server's log")


def busy(expected: str, found: str, seconds: int, *, close: bool = False) -> RefusedError:
    """Return the answer to a request that may be sent again in ``seconds``."""
    headers = {"Retry-After": str(seconds), **(CLOSE if close else {})}
    return RefusedError(503, expected, found, f"try again in {seconds} s", headers)


def add_handlers(app: FastAPI) -> None:
    """Let ``app`` answer every error with a ``Problem``."""

    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return error.response()

    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error).response()

    async def by_status(request: Request, error: HTTPException) -> JSONResponse:
        found = f"{request.method} {request.url.path}: {error.detail}"
        what = "see /openapi.json for what there is"
        return RefusedError(
            error.status_code, "a request this server knows", found, what, error.headers
        ).response()

    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return failed().response()

    app.add_exception_handler(RefusedError, refused)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]
    app.add_exception_handler(StarletteHTTPException, by_status)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, unforeseen)


def _invalid(error: RequestValidationError) -> RefusedError:
    """Say what the first error is, without the value that pydantic found."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        at = f"none at character {first['loc'][-1]}: {first['ctx']['error']}"
        return RefusedError(422, "a body of JSON", at, "mend the JSON")
    place = ".".join(str(part) for part in first["loc"])
    found = f"{type(first.get('input')).__name__} at {place}"
    if first["type"] == "missing":
        found = f"no {place}"
    elif first["type"] in ("extra_forbidden", "value_error"):
        found = place
    what = "send a JSON object as /openapi.json has it, with Content-Type: application/json"
    return RefusedError(422, first["msg"].removeprefix("Value error, "), found, what)


class WithoutValues(logging.Formatter):
    """Log lines whose tracebacks leave out the error's own words, which may quote a message."""

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None]
        | tuple[None, None, None],
    ) -> str:
        """Return where the error was raised, and its type."""
        kind, _, where = ei
        name = kind.__name__ if kind else "no error"
        return "".join([*traceback.format_tb(where), name])
