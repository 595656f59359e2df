"""Traces: spans of OpenTelemetry around the steps of a request; where none are asked for, nothing is imported or kept.

Names and attributes are those of the GenAI conventions (https://github.com/open-telemetry/semantic-conventions-genai),
and beside them those by which Phoenix tells kinds of spans (https://github.com/Arize-ai/openinference). What was asked
and said is in them only where `tracing.content` says so. A collector that is away costs spans, never an answer.
"""

from __future__ import annotations

import atexit
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from wbrag.core.errors import UsageError
from wbrag.core.sections import TracingConfig
from wbrag.core.types import Hit, Messages

Kind = Literal["internal", "server", "client"]
Carrier = Mapping[str, str]  # a span as headers, for a process elsewhere
CUT = 10_000  # characters of a text in an attribute
STOP_MS = 5_000  # how long a process that ends waits for its collector

_provider: Any = None
_content = False


def start(settings: TracingConfig, part: str) -> None:
    """Trace from now on in this process, which is `part` of the service; a second call changes nothing."""
    global _provider, _content
    if not settings.sample or _provider is not None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
    except ImportError:
        raise UsageError(
            "expected OpenTelemetry for tracing.sample, found none: pip install 'wbrag[tracing]', or set it 0"
        ) from None
    where = f"{settings.endpoint.rstrip('/')}/v1/traces" if settings.endpoint else None  # else OTEL_EXPORTER_OTLP_...
    resource = Resource.create({"service.name": settings.service, "service.instance.part": part})
    _provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(settings.sample)), resource=resource)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(where)))
    _content = settings.content
    logging.getLogger(OTLPSpanExporter.__module__).addFilter(_Once())
    atexit.register(stop)


def environment(settings: TracingConfig) -> dict[str, str]:
    """The settings as variables, for a process that gets no others."""
    if not settings.sample:
        return {}
    return {f"WBRAG_TRACING__{name.upper()}": str(value) for name, value in settings.model_dump().items()}


def stop() -> None:
    """Send what waits, and trace no more."""
    global _provider
    if _provider is not None:
        ended, _provider = _provider, None
        ended.force_flush(STOP_MS)
        ended.shutdown()


class Span:
    """A step under way; without tracing, nothing."""

    def __init__(self, own: Any = None) -> None:
        self.own = own

    def set(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes; None is none."""
        if self.own is not None:
            self.own.set_attributes({name: value for name, value in attributes.items() if value is not None})

    def rename(self, name: str) -> None:
        if self.own is not None:
            self.own.update_name(name)

    def said(self, **texts: str) -> None:
        """Texts of users or of the model (`input`, `output`), where these may be kept."""
        if _content:
            self.set({f"{name}.value": text[:CUT] for name, text in texts.items()})

    def failed(self, error: BaseException) -> None:
        """By its kind alone: its words may quote a question."""
        if self.own is not None:
            from opentelemetry.trace import StatusCode

            self.set({"error.type": type(error).__name__})
            self.own.set_status(StatusCode.ERROR)

    @contextmanager
    def running(self) -> Iterator[None]:
        """What is started meanwhile, here or elsewhere, is part of this one."""
        if self.own is None:
            yield
            return
        from opentelemetry.trace import use_span

        with use_span(self.own, end_on_exit=False, record_exception=False, set_status_on_exception=False):
            yield

    def end(self) -> None:
        if self.own is not None:
            self.own.end()


NOTHING = Span()


def begun(name: str, attributes: Mapping[str, Any], kind: Kind = "internal", parent: Carrier | None = None) -> Span:
    """A span that its caller ends: for generators, whose context is not their own between two steps."""
    if _provider is None:
        return NOTHING
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator as Headers

    context = Headers().extract(dict(parent)) if parent else None
    kept = {name: value for name, value in attributes.items() if value is not None}
    return Span(_provider.get_tracer("wbrag").start_span(name, context, SpanKind[kind.upper()], kept))


@contextmanager
def span(
    name: str, attributes: Mapping[str, Any], kind: Kind = "internal", parent: Carrier | None = None
) -> Iterator[Span]:
    """A span around a block, under the one that is running, or under `parent`, which another process carried here."""
    own = begun(name, attributes, kind, parent)
    try:
        with own.running():
            yield own
    except BaseException as error:
        own.failed(error)
        raise
    finally:
        own.end()


def carried() -> dict[str, str]:
    """The running span as headers, for a process elsewhere; nothing where nothing is traced."""
    headers: dict[str, str] = {}
    if _provider is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator as Headers

        Headers().inject(headers)
    return headers


# -- attributes -----------------------------------------------------------------------------------------------------


def step(kind: Literal["CHAIN", "RETRIEVER", "LLM"], **attributes: Any) -> dict[str, Any]:
    """A step of wbrag's own."""
    return {"openinference.span.kind": kind} | {f"wbrag.{name}": value for name, value in attributes.items()}


def found(hits: Sequence[Hit]) -> dict[str, Any]:
    """Ids and scores of hits, in both conventions; their texts where these may be kept."""
    if _provider is None:
        return {}
    listed = json.dumps([{"id": hit.id, "score": round(hit.score, 6)} for hit in hits])
    attributes: dict[str, Any] = {"gen_ai.retrieval.documents": listed}
    for place, hit in enumerate(hits):
        own = f"retrieval.documents.{place}.document"
        attributes |= {f"{own}.id": hit.id, f"{own}.score": hit.score}
        if _content:
            attributes[f"{own}.content"] = f"{hit.title}\n{hit.text}"[:CUT]
    return attributes


def prompted(messages: Messages | str) -> dict[str, Any]:
    """A prompt, where it may be kept."""
    if not _content or _provider is None:
        return {}
    turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else _turns(messages)
    attributes: dict[str, Any] = {"gen_ai.input.messages": json.dumps(turns)[:CUT]}
    for place, turn in enumerate(turns):
        own = f"llm.input_messages.{place}.message"
        attributes |= {f"{own}.role": turn["role"], f"{own}.content": turn["content"][:CUT]}
    return attributes


def _turns(messages: Messages) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


class _Once(logging.Filter):
    """The first word of a collector that is away: every batch would say it again, with a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = False

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info, before, self.seen = None, self.seen, True
        return not before
