"""Prometheus metrics: one registry per gateway, which `serve/grafana.json` draws.

Behind one address several gateways answer in turn: the label `replica` keeps their series apart.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from wbrag.core.types import Cost, Hit
from wbrag.units.releases import Release

STAGES = ("queue", "retrieve", "generate", "total")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters and histograms of one gateway; `watch` adds what is read off the gateway when it is asked."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        self.requests = Counter("wbrag_requests", "Requests answered", ["route", "status"], registry=r)
        self.stage = Histogram(
            "wbrag_stage_seconds", "Time of answers by stage", ["stage"], buckets=SECONDS, registry=r
        )
        self.tokens = Counter("wbrag_tokens", "Tokens read and written", ["kind"], registry=r)
        self.hits = Counter("wbrag_hits", "Retrieved hits by index", ["origin"], registry=r)
        self.answers = Counter("wbrag_answers", "Answers by method", ["method"], registry=r)
        self.used = Counter("wbrag_answers_with_units", "Answers with a unit among their hits", registry=r)
        self.empty = Counter("wbrag_empty_hits", "Searches and answers without any hit", registry=r)
        self.refused = Counter("wbrag_refused", "Requests not taken on", ["reason"], registry=r)
        self.errors = Counter("wbrag_errors", "Requests that failed", ["kind"], registry=r)
        self.feedback = Counter("wbrag_feedback", "Thumbs up and down", ["rating"], registry=r)
        for stage in STAGES:  # series that exist from the start can be told from series that were forgotten
            self.stage.labels(stage)
        for counter, values in (
            (self.tokens, ("prompt", "output")),
            (self.hits, ("base", "writeback")),
            (self.refused, ("busy", "draining", "not_ready")),
            (self.errors, ("timeout", "upstream", "internal", "client_gone")),
            (self.feedback, ("up", "down")),
        ):
            for value in values:
                counter.labels(value)

    def watch(self, name: str, help: str, read: Callable[[], float]) -> None:
        """A gauge that is read when Prometheus asks."""
        Gauge(name, help, registry=self.registry).set_function(read)

    def found(self, hits: Iterable[Hit]) -> None:
        origins = [hit.origin for hit in hits]
        for origin in set(origins):
            self.hits.labels(origin).inc(origins.count(origin))
        if not origins:
            self.empty.inc()

    def answered(self, method: str, hits: Iterable[Hit], cost: Cost) -> None:
        hits = list(hits)
        self.answers.labels(method).inc()
        self.found(hits)
        if any(hit.origin == "writeback" for hit in hits):
            self.used.inc()
        self.tokens.labels("prompt").inc(cost.prompt_tokens)
        self.tokens.labels("output").inc(cost.output_tokens)

    def text(self) -> bytes:
        return generate_latest(_WithReplica(self.registry))


class _WithReplica(Collector):
    """The series of `registry` with this process's label."""

    def __init__(self, registry: Collector) -> None:
        self.registry, self.replica = registry, f"{socket.gethostname()}:{os.getpid()}"

    def collect(self) -> Iterator[Metric]:
        for family in self.registry.collect():
            family.samples = [s._replace(labels={**s.labels, "replica": self.replica}) for s in family.samples]
            yield family


def age_s(release: Release | None) -> float:
    """Seconds since the release was made, 0 where the clock was set back; NaN for the base alone, without a date."""
    if release is None or not release.created_at:
        return float("nan")
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(release.created_at)).total_seconds())
