"""Deployment handles: Serve's deployments behind wbrag's protocols.

What fails in Ray is raised as wbrag's own error, or in one sentence; a caller that leaves cancels its call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, NoReturn

from ray.exceptions import RayActorError, RayError
from ray.serve.handle import DeploymentHandle
from tenacity import RetryCallState, retry, retry_if_exception_type

from wbrag.core import tracing
from wbrag.core.allowed import EVERYTHING, Allowed
from wbrag.core.errors import WbragError
from wbrag.core.retry import REPLICAS
from wbrag.core.types import Hit
from wbrag.executor.ray.failures import in_one_sentence
from wbrag.generators.serve import Body, ChatTransport
from wbrag.retrieval.encoder import Vectors
from wbrag.retrieval.hybrid import Words
from wbrag.serving.shard_groups import Found
from wbrag.units.releases import Release


def _no_replica(_: RetryCallState) -> NoReturn:
    raise WbragError("expected a retriever to answer, found it gone three times: ask again")


def _no_group(_: RetryCallState) -> NoReturn:
    raise WbragError("expected the holders of a part of the index to answer, found them gone three times: ask again")


class RemoteReleaseRetriever:
    """`ReleaseRetriever` over the retriever deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self.handle = handle

    async def search(
        self, queries: Sequence[str], k: int, release: Release, allowed: Allowed = EVERYTHING
    ) -> list[list[Hit]]:
        found: list[list[Hit]] = await self._ask("search", list(queries), k, release, allowed, tracing.carried())
        return found

    async def embed(self, contents: Sequence[str], queries: bool = False) -> Vectors:
        return await self._ask("embed", list(contents), queries)  # type: ignore[no-any-return]

    async def nearest(self, contents: Sequence[str], vectors: Vectors, k: int, release: Release) -> list[list[Hit]]:
        return await self._ask("nearest", list(contents), vectors, k, release)  # type: ignore[no-any-return]

    @retry(stop=REPLICAS, retry=retry_if_exception_type(RayActorError), retry_error_callback=_no_replica)
    async def _ask(self, method: str, *arguments: Any) -> Any:
        return await _result(getattr(self.handle, method).remote(*arguments))

    async def prepare(self, release: Release) -> None:
        """Every replica there is loads and tests `release`; one that starts later does so before its first search.

        Raises `WbragError` where the release is at fault, Ray's own error where a replica is.
        """
        await _everywhere(self.handle, release)


class RemoteGroup:
    """`ShardGroup` over the deployment of a group."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self.handle = handle

    @retry(stop=REPLICAS, retry=retry_if_exception_type(RayActorError), retry_error_callback=_no_group)
    async def search(
        self, release: Release, vectors: Vectors, k: int, words: Words | None, allowed: Allowed = EVERYTHING
    ) -> Found:
        found: Found = await _result(self.handle.search.remote(release, vectors, k, words, allowed))
        return found

    async def prepare(self, release: Release) -> None:
        await _everywhere(self.handle, release)


def chat_transport(handle: DeploymentHandle) -> ChatTransport:
    """The generator deployment as `ServeGenerator` speaks with it."""
    streams, whole = handle.options(method_name="chat_wire", stream=True), handle.options(method_name="chat_whole")

    async def ask(body: Body) -> AsyncGenerator[Body]:
        streamed, done = body.get("stream"), False
        traced = tracing.carried()
        # A stream costs Ray more than one value.
        response: Any = (streams if streamed else whole).remote(body | ({"trace": traced} if traced else {}))
        try:
            if streamed:
                async for part in response:
                    yield part
            else:
                reply = await response
                done = True
                yield reply
            done = True
        except RayActorError as error:
            done = True
            raise ConnectionError(type(error).__name__) from None
        except RayError as error:
            done = True
            raise _plain("the generation", error) from None
        finally:
            if not done:  # the caller left: the engine need not go on
                response.cancel()

    return ask


async def _everywhere(handle: DeploymentHandle, release: Release) -> None:
    first = handle.prepare.remote(release)  # waits for a replica, as broadcasts do not
    try:
        await first
    except asyncio.CancelledError:
        first.cancel()
        raise
    except RayError as error:
        raise _own(error) from None
    answers = await handle.broadcast("prepare", release).results_async(return_exceptions=True)
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, RayActorError):
            raise _own(answer)


async def _result(response: Any) -> Any:
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
    except RayActorError:
        raise
    except RayError as error:
        raise _plain("the search", error) from None


def _plain(step: str, error: Exception) -> Exception:
    """wbrag's own error as it was raised; what else a replica raises in one sentence."""
    own = _own(error)
    return in_one_sentence(step, own) if isinstance(own, RayError) else own


def _own(error: Exception) -> Exception:
    """wbrag's own error as it was raised. Any other stays what it is: it says nothing about a release."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, WbragError) else error
