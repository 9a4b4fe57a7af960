"""The routes of the server: classify, explain, health, metrics, and a page to try the model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any, Self, TypeVar

from fastapi import FastAPI, Request, Response, Security
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from smstune.config.schema import ServeConfig
from smstune.deploy.server.batcher import Batcher
from smstune.deploy.server.metrics import Metrics
from smstune.deploy.server.middleware import BodyLimits, Keys, RequestGuard
from smstune.deploy.server.page_texts import page_texts
from smstune.deploy.server.reports import (
    ALLOW_KEY_HEADER,
    LearnedReports,
    ReportDesk,
    ReportRequest,
)
from smstune.deploy.server.responses import (
    Problem,
    RefusedError,
    add_handlers,
    language_headers,
    request_language,
)
from smstune.inference.classifier import Prediction
from smstune.inference.decision import Decision
from smstune.inference.memory.entries import KnownCampaign
from smstune.language import LANGUAGES, Message, translated
from smstune.reporting.html import STYLE
from smstune.reporting.translation import TAGS

Value = TypeVar("Value")
#: FastAPI's telemetry would send error texts, which may quote a message, and URLs with queries.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem} for status in (400, 401, 408, 413, 422, 500, 501, 503)
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ClassifyRequest(_Strict):
    """One message, or many."""

    text: str | None = Field(None, description="One message.")
    texts: list[str] | None = Field(None, description="Many messages.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise ValueError("both or neither")
        return self


class ExplainRequest(_Strict):
    """One message."""

    text: str


class Answer(BaseModel):
    """The run's answer for one message."""

    label: str
    score: float = Field(description="Calibrated probability of the label.")
    scores: dict[str, float] = Field(description="Calibrated probability of each label.")
    decision: Decision | None = Field(description="Null where the run has no operating point.")
    note: str | None = Field(description="Anything unusual about the message.")
    text: str = Field(description="The message as the model reads it.")
    campaign: KnownCampaign | None = Field(
        description="The remembered campaign that label and decision come from, if any."
    )


class Answers(BaseModel):
    """One answer per message, in the order of the request."""

    answers: list[Answer]


class PieceOfText(BaseModel):
    """A part of a message; its score, in nats, is null if the model read no token of it."""

    text: str
    score: float | None


class ExplainedAnswer(BaseModel):
    """An answer and how much each part of the message contributed to it.

    The pieces' scores add up to ``log_odds`` minus ``baseline``, the log odds without any token.
    """

    label: str
    score: float
    log_odds: float
    baseline: float
    pieces: list[PieceOfText]


def create_app(
    batcher: Batcher,
    metrics: Metrics,
    section: ServeConfig,
    *,
    name: str,
    keys: Keys,
    desk: ReportDesk | None,
) -> FastAPI:
    """Return the server's application; ``name`` is the run's, ``desk`` takes reports."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield

    app = FastAPI(
        title="smstune",
        summary=f"Labels messages by the run {name}.",
        # FastAPI's own documentation pages load scripts from another host.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        telemetry=_NO_TELEMETRY,
    )
    with_key = keys.api is not None
    _add_scoring(app, batcher, section, with_key=with_key)
    if desk is not None:
        batcher.add_lane(desk.lane)
        _add_reports(app, batcher, desk, section)
    _add_health(app, batcher, metrics)
    _add_page(app, batcher, section, name, with_key=with_key)
    add_handlers(app)
    paths = [route.path for route in app.routes]  # type: ignore[attr-defined]
    # max_body_bytes may be set above the default of max_bytes_in_flight.
    in_flight = max(section.max_bytes_in_flight, section.max_body_bytes)
    limits = BodyLimits(section.max_body_bytes, in_flight, section.body_seconds)
    app.add_middleware(RequestGuard, metrics=metrics, paths=paths, limits=limits, keys=keys)
    if section.cors_origins:
        # Outermost: a browser's preflight request comes without the key.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=section.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "X-API-Key", ALLOW_KEY_HEADER],
            expose_headers=["Retry-After"],
        )
    return app


def _add_scoring(app: FastAPI, batcher: Batcher, section: ServeConfig, *, with_key: bool) -> None:
    # Only for openapi.json: RequestGuard checks the key before the body is read.
    bearer = Security(HTTPBearer(auto_error=False))
    header = Security(APIKeyHeader(name="X-API-Key", auto_error=False))
    dependencies = [bearer, header] if with_key else []

    @app.post("/v1/classify", responses=_PROBLEMS, dependencies=dependencies)
    async def classify(body: ClassifyRequest, request: Request, response: Response) -> Answers:
        """Label one message or many."""
        texts = [body.text] if body.text is not None else body.texts or []
        _check(texts, section)
        predictions = await _until_disconnect(request, batcher.classify(texts))
        language = request_language(request.headers.get("accept-language", ""))
        response.headers.update(language_headers(language))
        return Answers(answers=[_answer(prediction, language) for prediction in predictions])

    @app.post("/v1/explain", responses=_PROBLEMS, dependencies=dependencies)
    async def explain(body: ExplainRequest, request: Request) -> ExplainedAnswer:
        """Attribute the answer for one message to its parts, by integrated gradients."""
        _check([body.text], section)
        explanation = await _until_disconnect(request, batcher.explain(body.text))
        return ExplainedAnswer(
            label=explanation.label,
            score=explanation.probability,
            log_odds=explanation.log_odds,
            baseline=explanation.baseline,
            pieces=[PieceOfText(text=span.text, score=span.score) for span in explanation.pieces],
        )


def _add_reports(app: FastAPI, batcher: Batcher, desk: ReportDesk, section: ServeConfig) -> None:
    # Only for openapi.json, as for the other routes.
    schemes = (
        HTTPBearer(auto_error=False),
        APIKeyHeader(name="X-API-Key", auto_error=False),
        APIKeyHeader(name=ALLOW_KEY_HEADER, scheme_name="AllowKey", auto_error=False),
    )
    dependencies = [Security(scheme) for scheme in schemes]
    problems = {**_PROBLEMS, 403: {"model": Problem}}

    @app.post("/v1/reports", responses=problems, dependencies=dependencies)
    async def report(body: ReportRequest, request: Request, response: Response) -> LearnedReports:
        """Remember reported messages; the next answers know their campaigns."""
        _check([reported.text for reported in body.reports], section)
        batcher.require_ready()
        language = request_language(request.headers.get("accept-language", ""))
        allow_key = request.headers.get(ALLOW_KEY_HEADER, "")
        # Not given up when the client disconnects: what was accepted is learned.
        learned = await asyncio.shield(desk.learn(body.reports, allow_key, language))
        response.headers.update(language_headers(language))
        return LearnedReports(reports=learned)


def _check(texts: Sequence[str], section: ServeConfig) -> None:
    if not 1 <= len(texts) <= section.max_messages:
        raise RefusedError(
            422,
            Message("1 to {limit} messages", limit=section.max_messages),
            Message(str(len(texts))),
            Message("send them in several requests") if texts else Message("send at least one"),
        )
    for number, text in enumerate(texts):
        if len(text) > section.max_characters:
            raise RefusedError(
                422,
                Message("messages of at most {limit} characters", limit=section.max_characters),
                Message(
                    "{length} in message {number}, counted from 0",
                    length=len(text),
                    number=number,
                ),
                Message("shorten it"),
            )


def _answer(prediction: Prediction, language: str) -> Answer:
    answer = Answer.model_validate(prediction, from_attributes=True)
    note = prediction.note and translated(prediction.note, language)
    return answer.model_copy(update={"note": note})


async def _until_disconnect(request: Request, answer: Coroutine[Any, Any, Value]) -> Value:
    """Return the result of ``answer``; cancel it if the client disconnects."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, watch = asyncio.create_task(answer), asyncio.create_task(disconnected())
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise RefusedError(
                499,
                Message("a client that waits for its answer"),
                Message("a client that disconnected"),
                Message("wait for the answer"),
            )
        return work.result()
    finally:
        work.cancel()
        watch.cancel()


def _add_health(app: FastAPI, batcher: Batcher, metrics: Metrics) -> None:
    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Return ``alive`` while the process runs."""
        return "alive\n"

    @app.get("/readyz", response_class=PlainTextResponse, responses={503: {"model": Problem}})
    async def readyz() -> str:
        """Return 200 while the server accepts messages: loaded, warm and not stopping."""
        if not batcher.ready:
            raise RefusedError(
                503,
                Message("a server that accepts requests"),
                Message("a server that is stopping"),
                Message("use another server"),
            )
        return "ready\n"

    @app.get("/metrics", response_class=PlainTextResponse)
    async def prometheus() -> Response:
        """Return the metrics in Prometheus' text format."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _add_page(
    app: FastAPI, batcher: Batcher, section: ServeConfig, name: str, *, with_key: bool
) -> None:
    from jinja2 import Environment

    folder = files("smstune.deploy.server") / "page"
    html, css, js = ((folder / f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
    template = Environment(autoescape=True).from_string(html)
    pages = {
        language: template.render(
            name=name,
            max_messages=section.max_messages,
            with_key=with_key,
            explains=batcher.explains,
            shown_names=batcher.shown_names(language),
            texts=page_texts(language),
            language_tag=TAGS[language],
        )
        for language in LANGUAGES
    }

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def root(request: Request) -> Response:
        language = request_language(request.headers.get("accept-language", ""))
        headers = {**_PAGE_HEADERS, **language_headers(language)}
        return HTMLResponse(pages[language], headers=headers)

    @app.get("/page.css", include_in_schema=False)
    async def style() -> Response:
        return Response(STYLE + css, media_type="text/css", headers=_PAGE_HEADERS)

    @app.get("/page.js", include_in_schema=False)
    async def code() -> Response:
        return Response(js, media_type="text/javascript", headers=_PAGE_HEADERS)
