"""Settings sections: one frozen pydantic model each, every setting with its default, its bounds and what it is for.

Each setting is declared here and nowhere else; a name that no section has is refused.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from wbrag.core.model_sections import Section


class IndexConfig(Section):
    factory: str = Field("SQfp16", description="FAISS factory string; SQfp16 is exact flat search over fp16 vectors")
    shards: int = Field(2, ge=1)
    block_rows: int = Field(4096, ge=1, description="rows embedded in one go: what a killed build repeats at most")
    gpus_per_shard: float = Field(0.0, ge=0, description="share of a GPU to search each shard on; 0: on the CPU")


class EnrichConfig(Section):
    """The paper's Table 6."""

    top_k: int = Field(5, ge=1, description="K")
    tau_s: float = Field(0.10, ge=0)
    tau_delta: float = Field(0.01, ge=0)
    tau_doc: float = Field(0.01, ge=0)
    n_min: int = Field(2, ge=1)
    gate_metric: Literal["task", "acc", "em", "f1", "logprob", "judge"] = Field(
        "task",
        description="what the gates score with; logprob: the gold answer's probability; "
        "judge: a model's own verdict, for questions without answers",
    )
    distiller: Literal["llm", "extractive"] = "llm"
    max_sentences: int = Field(8, ge=1)
    fallback_sentences: int = Field(6, ge=1)
    max_unit_tokens: int = Field(128, ge=8)
    record: Literal["needed", "all"] = Field(
        "needed", description="all: score every example and document, so that a sweep needs no further call"
    )
    round_trip: bool = Field(True, description="answer from the unit alone too, which the check of that name reads")
    witnesses: int = Field(
        24, ge=0, description="passages beside a unit's sources that are asked its question, for the check `dissent`"
    )
    lossless_skip: bool = Field(True, description="make no call whose outcome cannot change the verdict")
    candidates: int = Field(
        0, ge=0, le=200, description="documents whose usefulness is recorded, a call each, for `wbrag train retriever`"
    )
    candidate_depth: int = Field(
        0, ge=0, le=1000, description="they are drawn from so many of the best, by rank; default: the best themselves"
    )


class ReplugConfig(Section):
    level: Literal["token", "sequence"] = Field(
        "token", description="mix every next token's probabilities, or whole candidate answers' (any endpoint)"
    )
    temperature: float = Field(0.1, gt=0, description="of the softmax over similarities; 1.0 is nearly uniform")
    top_logprobs: int = Field(
        20, ge=1, le=20, description="tokens of each document's distribution that are looked at; vLLM shows 20"
    )


class SelfRagConfig(Section):
    """Self-RAG's own weights (https://github.com/AkariAsai/self-rag, short-form)."""

    threshold: float = Field(0.2, ge=0, le=1, description="retrieve where the share of 'yes' is above this")
    w_rel: float = 1.0
    w_sup: float = 1.0
    w_use: float = 1.0


class FlareConfig(Section):
    preset: Literal["paper", "flashrag"] = Field(
        "paper", description="paper: theta 0.8, beta 0.4, question in the query; flashrag: 0.2, 0.2, without"
    )
    theta: float | None = Field(None, ge=0, le=1, description="retrieve where a token is at most so likely")
    beta: float | None = Field(None, ge=0, le=1, description="tokens less likely than this leave the query")
    query: Literal["implicit", "explicit"] = Field(
        "implicit", description="the masked sentence, or questions that the model asks about what it is unsure of"
    )
    question_in_query: bool | None = None
    look_ahead_tokens: int = Field(64, ge=1)
    max_rounds: int = Field(5, ge=1)


class IterRetgenConfig(Section):
    rounds: int = Field(3, ge=1)


class PlannerConfig(Section):
    max_sub_questions: int = Field(3, ge=1)


class MethodsConfig(Section):
    replug: ReplugConfig = ReplugConfig()
    selfrag: SelfRagConfig = SelfRagConfig()
    flare: FlareConfig = FlareConfig()
    iter_retgen: IterRetgenConfig = IterRetgenConfig()
    planner: PlannerConfig = PlannerConfig()


class PublishConfig(Section):
    near_duplicate: float = Field(0.97, gt=0, le=1, description="cosine from which two units are merged")
    max_writeback_shards: int = Field(8, ge=1, description="more are rewritten into one")


class ChecksConfig(Section):
    """What a unit must pass before it is published. Every check can be left out of `enabled`."""

    enabled: tuple[
        Literal[
            "grounding", "round_trip", "leakage", "instructions", "novelty", "conflict", "trust", "sources", "dissent"
        ],
        ...,
    ] = ("grounding", "round_trip", "leakage", "instructions", "novelty", "conflict", "trust", "sources", "dissent")
    policy: Literal["auto", "manual"] = Field(
        "auto", description="auto: publish what passes every check; manual: wait for a person's approval"
    )
    nli_model: str | None = Field(
        None,
        description="a cross-encoder for entailment, folder or Hugging Face name; default: words and names",
    )
    grounding: float = Field(
        0.5,
        ge=0,
        le=1,
        description="least share of a sentence's words that its evidence holds; with nli_model, entailment",
    )
    round_trip: float = Field(0.0, ge=0, description="how far a unit may answer worse than its evidence did")
    novelty: float = Field(0.98, gt=0, le=1, description="from this cosine on, a unit repeats a passage or a unit")
    conflict: float = Field(
        0.6, ge=0, le=1, description="cosine from which units and newer passages are compared for contradictions"
    )
    min_trust: float = Field(0.5, ge=0, le=1, description="least trust of a unit's sources")
    source_trust: dict[str, float] = Field(
        {}, description="trust of a source by its name, in place of the corpus's own figure"
    )
    source_share: float = Field(
        3.0,
        ge=0,
        description="the policy lets in units of a source up to so many times its share of the corpus; 0: no bound",
    )
    ttl_days: float | None = Field(None, gt=0, description="age at which a unit turns stale")


class CanaryConfig(Section):
    """A release is published only if it answers held-out questions no worse than the one before."""

    examples: str | None = Field(None, description="NAME/SPLIT of held-out questions; default: no canary")
    limit: int = Field(200, ge=1)
    method: str = "naive"
    alpha: float = Field(0.05, gt=0, lt=1, description="a loss with McNemar p below this refuses the release")


class LearnConfig(Section):
    """What served answers must meet to become candidates (Bidirectional RAG, arXiv 2512.22199)."""

    enabled: bool = Field(False, description="turn served answers into candidates at all")
    grounding: float = Field(0.65, ge=0, le=1)
    novelty: float = Field(0.90, gt=0, le=1, description="max cosine to the base corpus and the shelf stays below this")
    judge: float = Field(0.8, ge=0, le=1, description="least judge score of an answer nobody rated")


class ServingConfig(Section):
    """The endpoint: where it listens, what a request may ask for, and how much work it takes on."""

    host: str = Field("127.0.0.1", description="address to listen on; any but a loopback one needs keys")
    port: int = Field(8000, ge=0, le=65535)
    https: bool = Field(False, description="a proxy in front speaks https: cookies are sent over nothing else")
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*/?$",
        description="path below which a proxy serves it, /rag say; default: what X-Forwarded-Prefix says",
    )
    cors_origins: tuple[str, ...] = Field(
        (), description="origins whose pages may ask the API from a browser, https://chat.example.org say; * for any"
    )
    methods: tuple[str, ...] = Field(
        ("naive", "iter_retgen", "flare", "replug", "selfrag", "planner"),
        min_length=1,
        description="methods a request may name, the first one answers those that name none",
    )
    tasks: tuple[str, ...] = Field(
        ("chat", "qa", "nq", "hotpotqa", "squad", "zsre", "boolq", "fever"),
        min_length=1,
        description="tasks a request may name, the first one answers those that name none; chat (prose with citations) "
        "only where model and method are up to it: not the embedded one, and naive or iter_retgen",
    )
    releases: Literal["latest-only", "any"] = Field(
        "latest-only", description="any: a request may name a release, or none for the base corpus alone"
    )
    max_top_k: int = Field(20, ge=1, description="most hits that a request may ask for")
    max_tokens: int = Field(1024, ge=1, description="most tokens of one answer, whatever a request asks for")
    chat_tokens: int = Field(512, ge=1, description="tokens of an answer of the task chat where a request names none")
    system_prompt: str = Field("", description="the operator's own words to the model in a chat, above the client's")
    history_tokens: int = Field(1000, ge=0, description="about so many tokens of earlier turns go into a chat's prompt")
    condense: bool = Field(
        True,
        description="a follow-up of a chat is written as a question that stands alone, by one call, and searched for",
    )
    mark_unsupported: str = Field(
        "",
        max_length=40,
        pattern=r"^\D*$",
        description="what is put after a sentence of a chat that its documents do not bear out, (unsupported) say; "
        "made for English; default: nothing",
    )
    max_question_chars: int = Field(4000, ge=1)
    max_body_bytes: int = Field(1_000_000, ge=1000)
    concurrency: int = Field(32, ge=1, description="requests at work in one gateway")
    queue: int = Field(64, ge=0, description="requests waiting in one gateway; more are answered 429 at once")
    timeout_s: float = Field(60.0, gt=0, description="longest time for one request, its wait included")
    drain_s: float = Field(30.0, ge=0, description="how long a stopping gateway waits for what it has begun")
    record: Literal["none", "hits", "answers"] = Field(
        "hits", description="what the usage table keeps; answers: the questions and answers too"
    )
    gateways: tuple[int, int] = Field((1, 4), description="gateway replicas, at least and at most")
    retrievers: tuple[int, int] = Field((1, 4), description="retriever replicas, at least and at most")
    generators: tuple[int, int] = Field((1, 4), description="generator replicas, at least and at most")
    shard_groups: int = Field(
        1,
        ge=1,
        description="parts that the base index is spread over, where one machine cannot hold it; each has as many "
        "replicas as there are retrievers",
    )
    one_process: bool | None = Field(
        None,
        description="whether each gateway (one, unless gateways are set) holds encoder, shards and engine itself: "
        "least CPU an answer; default: where one engine runs on one machine without a GPU",
    )
    cache_dir: str | None = Field(None, description="local folder for shards of a shared store; default: none needed")
    poll_s: float = Field(2.0, gt=0, description="how often the newest release is looked for")


class TracingConfig(Section):
    """Traces of the endpoint's requests, sent to an OpenTelemetry collector."""

    sample: float = Field(0.0, ge=0, le=1, description="share of the requests that are traced; 0: none")
    endpoint: str = Field(
        "", description="where OTLP over HTTP is taken, http://phoenix:6006 say; default: OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    content: bool = Field(False, description="questions, documents and answers are in the traces too")
    service: str = Field("wbrag", description="the name that the traces are under")


class RetrievalConfig(Section):
    top_k: int = Field(5, ge=1)
    max_writeback_share: float = Field(
        1.0, ge=0, le=1, description="at most this share of the hits from the write-back index"
    )
    displace_sources: bool = Field(False, description="a unit takes the place of the passages it was distilled from")
    hybrid: float = Field(
        0.0, ge=0, lt=1, description="weight of words (BM25) beside vectors, 0.3 say; 0: vectors alone, no word index"
    )


class RetrieverConfig(Section):
    """Where the base passages come from: wbrag's own index, or a store that wbrag does not own."""

    kind: str = Field("faiss", description="faiss: wbrag's own index; http, langchain, pgvector, or a plugin's name")
    options: dict[str, Any] = Field({}, description="what the store is told; docs/integrations.md lists them")
    version: str = Field("", description="a name for the store's present contents; default: what it says of itself")
    rescore: bool = Field(
        True,
        description="score the hits of an http or LangChain store or a plugin with wbrag's encoder, so that they "
        "compare with units; false: its scores are inner products of that encoder",
    )
    push: bool = Field(False, description="publishing and rolling back also push the units into the store's collection")
    connections: int = Field(8, ge=1, description="searches in flight per process")
    timeout_s: float = Field(30.0, gt=0)
    max_retries: int = Field(4, ge=0)


class RayConfig(Section):
    address: str | None = Field(None, description="cluster address; default: the job's cluster, else a local one")
    block_rows: int = Field(32, ge=1, description="examples in one checkpointed block")
    start_timeout_s: float = Field(
        3600.0, gt=0, description="how long models and shards may take to start, nodes that must come first included"
    )
    spread_above: int = Field(
        4096,
        ge=0,
        description="so many examples or passages are handed to one model by this process; more, or several "
        "models, by Ray Data",
    )


class JobConfig(Section):
    """What a verb works on where the command line does not say, so that a job needs only its config file."""

    examples: str | None = Field(None, description="NAME/SPLIT to enrich or evaluate")
    method: str = "naive"
    limit: int | None = Field(None, description="only so many examples, drawn once for all")
    release: str = Field("latest", description="what to evaluate: latest, none, closed-book, or an id")
    against: str | None = Field(None, description="another such name to compare with")
