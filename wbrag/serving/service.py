"""Answer service: admission, release, answer and usage row of each request, for the API and the desk.

One request is answered from one release; whatever fails becomes a `Refusal` that a client may read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import numpy as np

from wbrag.core import tracing
from wbrag.core.allowed import Allowed
from wbrag.core.citations import ProseReader
from wbrag.core.errors import CannotFilter, PromptTooLong, UsageError, WbragError
from wbrag.core.reading import AnswerReader
from wbrag.core.sections import ServingConfig
from wbrag.core.tasks import task as known_task
from wbrag.core.types import Answer, Cost, Generator, Hit
from wbrag.methods import Rag
from wbrag.methods import method as named
from wbrag.methods.meter import Meter
from wbrag.retrieval.encoder import Vectors
from wbrag.serving import ReleaseRetriever
from wbrag.serving.adapters import Emit, PinnedRetriever, StreamingGenerator
from wbrag.serving.admission import Admission
from wbrag.serving.answer_ids import issued_to
from wbrag.serving.errors import Refusal
from wbrag.serving.health import Health
from wbrag.serving.keys import session_secret
from wbrag.serving.prometheus import Metrics
from wbrag.serving.recorder import Recorder
from wbrag.serving.requests import AnswerRequest, Caller, CurrentRelease, Reply
from wbrag.serving.standalone import StandaloneQueries
from wbrag.serving.support import MarkingReader, marked
from wbrag.serving.traced import TracedGenerator
from wbrag.units.labels import restricted
from wbrag.units.layout import Layout
from wbrag.units.releases import Release
from wbrag.units.usage import Feedback, Served

log = logging.getLogger("wbrag.serving")
EMBEDDED = 256  # texts of one call to a retriever


class AnswerService:
    """The work of the gateway, whoever asks: the API and the desk."""

    def __init__(
        self,
        layout: Layout,
        retriever: ReleaseRetriever,
        generator: Generator,
        watcher: CurrentRelease,
        settings: ServingConfig,
    ) -> None:
        g = layout.config.generator
        self.layout, self.retriever, self.watcher = layout, retriever, watcher
        self.generator = TracedGenerator(generator, g.model, g.backend)
        self.settings, self.secret = settings, session_secret(layout.path)
        self.metrics = Metrics()
        self.recorder = Recorder(layout.usage)
        self.admission = Admission(settings.concurrency, settings.queue)
        self.health = Health(generator)
        self.queries = StandaloneQueries(self.generator, settings, layout.config.prompts_dir)
        self._known: dict[str, Release] = {}  # rows of the releases table never change

    async def answer(self, ask: AnswerRequest, caller: Caller, emit: Emit | None = None) -> Reply:
        """Answer under the caller's deadline. `emit` hears it in pieces; raises `Refusal` with what is wrong."""
        with tracing.span("answer", tracing.step("CHAIN", method=ask.method, task=ask.task)) as span:
            span.said(input=ask.question)
            reply = await (self._relay if ask.messages else self._answer)(ask, caller, emit)
            span.set({"wbrag.release": reply.release.id, "wbrag.finish_reason": reply.finish_reason})
            span.said(output=reply.answer.text)
            return reply

    async def _answer(self, ask: AnswerRequest, caller: Caller, emit: Emit | None) -> Reply:
        start = time.perf_counter()
        async with self._admitted(caller, ask.method, ask.question):
            queued = time.perf_counter() - start
            release = await self._release(ask.release, caller)
            config, task = self.layout.config, known_task(ask.task)
            pinned = PinnedRetriever(self.retriever, release, Allowed(caller.sees, ask.filter))
            # other methods' last call is not the answer itself: theirs is heard when it is whole
            reader = partial(self._prose_reader, pinned) if task.prose else AnswerReader
            streaming = StreamingGenerator(self.generator, emit if ask.method == "naive" else None, reader)
            rag = Rag(streaming, pinned, task, ask.top_k, ask.sampling, config.prompts_dir, config.methods, ask.talk)
            with self.health.observing(streaming):
                talk, condensed = await self.queries.of(ask.talk) if ask.talk else (None, Cost())
                question = talk.query if talk else ask.question
                answer = await named(ask.method)(question, replace(rag, conversation=talk), None)
                answer = replace(answer, cost=answer.cost + condensed)
        if task.prose and (mark := self.settings.mark_unsupported):
            answer = replace(answer, text=marked(answer.text, answer.hits, mark))
        if emit and answer.text and not streaming.emitted:
            emit(answer.text)
        seconds = {
            "queue": queued,
            "condense": condensed.seconds,
            "retrieve": pinned.watch.seconds,
            "generate": streaming.watch.seconds,
            "total": time.perf_counter() - start,
        }
        for stage, taken in seconds.items():
            self.metrics.stage.labels(stage).observe(taken)
        self.metrics.answered(ask.method, answer.hits, answer.cost)
        query = talk.query if talk and talk.query != ask.question else ""
        reply = Reply(answer, release, "length" if streaming.cut else "stop", seconds, query)
        self._record(ask, caller, reply)
        return reply

    def _prose_reader(self, pinned: PinnedRetriever) -> ProseReader | MarkingReader:
        if mark := self.settings.mark_unsupported:
            return MarkingReader(lambda: pinned.hits, mark)
        return ProseReader(lambda: len(pinned.hits))

    async def _relay(self, ask: AnswerRequest, caller: Caller, emit: Emit | None) -> Reply:
        """The model's own words, under the same bounds."""
        start = time.perf_counter()
        async with self._admitted(caller, ask.method, ""):
            release = await self._release(None, caller)
            model = StreamingGenerator(self.generator)
            meter = Meter(model, PinnedRetriever(self.retriever, release))
            with self.health.observing(model):
                said = await meter.generate(ask.messages, ask.sampling)
        seconds = time.perf_counter() - start
        if emit and said.text:
            emit(said.text)
        reason = "length" if said.finish_reason == "length" else "stop"
        taken = {"generate": model.watch.seconds, "total": seconds}
        return Reply(Answer(said.text, (), meter.cost(seconds)), release, reason, taken)

    async def search(
        self, query: str, k: int, release: str | None, caller: Caller, filter: str = ""
    ) -> tuple[list[Hit], Release]:
        """The best `k` hits that the caller may see and `filter` lets pass, under the same bounds as an answer."""
        async with self._admitted(caller, "search", query):
            row = await self._release(release, caller)
            pinned = PinnedRetriever(self.retriever, row, Allowed(caller.sees, filter))
            [hits] = await pinned.search([query], k)
        self.metrics.stage.labels("retrieve").observe(pinned.watch.seconds)
        self.metrics.found(hits)
        return hits, row

    async def embed(self, texts: Sequence[str], queries: bool, caller: Caller) -> Vectors:
        """Vectors [n, d] of texts as passages or as queries, under the same bounds as an answer."""
        async with self._admitted(caller, "embeddings", ""):
            pieces = [
                await self.retriever.embed(texts[start : start + EMBEDDED], queries)
                for start in range(0, len(texts), EMBEDDED)
            ]
        return np.concatenate(pieces)

    def rate(self, answer_id: str, rating: int, comment: str, name: str) -> None:
        """Keep a user's word on an answer, which may have been another replica's, but was given to this key."""
        if not issued_to(self.secret, name, answer_id):
            raise Refusal(
                404,
                "request_id: expected the id of an answer that your key was given: take it from that answer's wbrag "
                "block",
                param="request_id",
            )
        self.metrics.feedback.labels("up" if rating > 0 else "down").inc()
        self.recorder.add(Feedback(answer_id, utc(), name, rating, comment))

    @asynccontextmanager
    async def _admitted(self, caller: Caller, what: str, question: str) -> AsyncIterator[None]:
        """A place at work until the deadline, and every failure as a refusal that a client may read."""
        if not self.watcher.ready or not self.health.up:
            self.metrics.refused.labels("not_ready").inc()
            raise Refusal(503, "the library and the model are being loaded: ask again", code="not_ready", retry_after=5)
        try:
            async with asyncio.timeout_at(caller.deadline), self.admission.slot(caller.name):
                yield
        except TimeoutError:
            self.metrics.errors.labels("timeout").inc()
            raise Refusal(504, "no answer within the request's time: allow more, or ask less", code="timeout") from None
        except Refusal as refused:
            if refused.code in ("busy", "draining"):
                self.metrics.refused.labels(refused.code).inc()
            raise
        except PromptTooLong as error:
            raise Refusal(400, str(error), code="context_length_exceeded") from None
        except CannotFilter as error:
            raise Refusal(400, f"filter: {error}", param="filter") from None
        except UsageError as error:
            _log(caller, error, question)
            raise Refusal(400, f"{what!r} cannot be served with this model: choose another method") from error
        except WbragError as error:  # its sentence is for the operator: it may name addresses
            self.metrics.errors.labels("upstream").inc()
            _log(caller, error, question)
            raise Refusal(502, "the model or the index did not answer: ask again", code="upstream") from error

    async def _release(self, name: str | None, caller: Caller) -> Release:
        """The row of a release; what answers now is looked up once, here, and then kept for the whole request."""
        present = self.watcher.release
        assert present is not None  # `_admitted` lets nobody in before
        if name in (None, "latest", present.id):
            return present
        assert name is not None
        if name != "none" and caller.sees is not None and await asyncio.to_thread(restricted, self.layout):
            message = "release: an earlier one lets see what was allowed in its day: ask latest, or none"
            raise Refusal(403, message, param="release")
        if name in self.watcher.refused:
            raise Refusal(
                400, f"release {name} failed its self-test and is not served: choose another", param="release"
            )
        if name in self._known:
            return self._known[name]
        try:
            row = await asyncio.to_thread(self.layout.release, name)
        except WbragError as error:
            raise Refusal(400, str(error), param="release") from None
        if name != "none":  # the base index in use may be replaced
            self._known[name] = row
        return row

    def _record(self, ask: AnswerRequest, caller: Caller, reply: Reply) -> None:
        kept = self.settings.record
        if kept == "none" or not ask.traffic:
            return
        hits = reply.answer.hits
        self.recorder.add(
            Served(
                caller.answer_id,
                utc(),
                caller.name,
                reply.release.id,
                ask.method,
                ask.task,
                ask.question if kept == "answers" else "",
                reply.answer.text if kept == "answers" else "",
                tuple(hit.id for hit in hits),
                tuple(hit.origin for hit in hits),
                tuple(hit.score for hit in hits),
                reply.seconds["total"],
            )
        )


def _log(caller: Caller, error: Exception, question: str) -> None:
    """The cause, which the client is not told; an endpoint may quote the question, which is not logged."""
    said = " ".join(str(error).split()).replace(" ".join(question.split()), "[question]")[:500]
    log.warning("upstream", extra={"fields": {"request_id": caller.request_id, "error": said}})


def utc() -> str:
    """Now, to the millisecond: rows of one second have an order."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
