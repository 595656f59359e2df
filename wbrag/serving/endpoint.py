"""Endpoint: the API and the desk as one app, over the same retriever and generator.

A question asked at the desk passes the same admission as any other, and leaves no usage row.
"""

from __future__ import annotations

import asyncio
from uuid import uuid4

from fastapi import FastAPI

from wbrag.core.types import Answer, Generator, Sampling, Unit
from wbrag.serving import ReleaseRetriever
from wbrag.serving.api.app import create_app
from wbrag.serving.api.validation import answer_tokens, hits
from wbrag.serving.desk.counters import counters_of
from wbrag.serving.desk.pages import Sees, refusal
from wbrag.serving.desk.routes import desk_router
from wbrag.serving.endpoint_models import EndpointModels
from wbrag.serving.release_watcher import ReleaseWatcher
from wbrag.serving.requests import AnswerRequest, Caller
from wbrag.serving.service import AnswerService
from wbrag.units.correct import correct
from wbrag.units.layout import Layout
from wbrag.units.library import Library
from wbrag.units.publisher import Publisher
from wbrag.units.releases import Release


def endpoint(layout: Layout, retriever: ReleaseRetriever, generator: Generator, watcher: ReleaseWatcher) -> FastAPI:
    """API and desk; start and end come with the app's lifespan. See `create_app` for what it refuses."""
    app = create_app(layout, retriever, generator, watcher)
    service: AnswerService = app.state.service
    app.state.page_error = refusal
    models = EndpointModels(layout, retriever, generator)
    library = Library(layout, models)
    publisher = Publisher(library, models)

    async def publish(by: str, note: str) -> Release:
        return await models.in_thread(lambda: publisher.publish(note, by=by))

    async def edit(id: str, title: str, text: str, by: str, why: str) -> Unit:
        return await models.in_thread(lambda: correct(library, id, title=title, text=text, by=by, why=why))

    async def ask(question: str, release: str, task: str, sees: Sees) -> Answer:
        c, s = layout.config, layout.config.serving
        sampling = Sampling(min(answer_tokens(task, s, c), s.max_tokens))
        asked = AnswerRequest(question, s.methods[0], task, hits(None, "top_k", s, c), sampling, release, traffic=False)
        deadline = asyncio.get_running_loop().time() + s.timeout_s
        return (await service.answer(asked, Caller(uuid4().hex, "", "desk", deadline, sees))).answer

    counters = lambda: counters_of(service)  # noqa: E731
    app.include_router(desk_router(layout, watcher, ask=ask, publish=publish, counters=counters, correct=edit))
    return app
