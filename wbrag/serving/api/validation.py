"""Request validation: every option within what the operator allows, or refused with the field's name and the choices.

What comes out may be used unchecked; what may not raises `Refusal`.
"""

from __future__ import annotations

from typing import Any

from wbrag.core.allowed import checked_filter
from wbrag.core.config import Config
from wbrag.core.defuse import apart
from wbrag.core.errors import UsageError
from wbrag.core.sections import ServingConfig
from wbrag.core.tasks import task as known_task
from wbrag.core.types import Message, Role, Sampling
from wbrag.methods import TALKING
from wbrag.methods.conversation import Conversation, recent
from wbrag.serving.api import schemas
from wbrag.serving.api.housekeeping import is_housekeeping
from wbrag.serving.errors import Refusal
from wbrag.serving.requests import AnswerRequest

MODEL = "wbrag"
HOUSEKEEPING = "none"  # the method of what is asked about a conversation
SEEDS = 2**31  # engines take no larger ones


def answer_request(asked: schemas.Chat, settings: ServingConfig, config: Config) -> AnswerRequest:
    """The question of a chat request, and how to answer it."""
    options = asked.wbrag or schemas.Options()
    method = _method_of(asked.model, settings)
    if options.method is not None:
        method = one_of("wbrag.method", options.method, settings.methods)
    task = task_of(options.task, method, settings, config)
    wanted = asked.max_completion_tokens or asked.max_tokens or answer_tokens(task, settings, config)
    sampling = Sampling(
        max_tokens=min(wanted, settings.max_tokens),
        temperature=asked.temperature or 0.0,
        seed=(asked.seed or 0) % SEEDS,
        stop=_stop(asked.stop),
    )
    users = [turn for turn in asked.messages if turn.role == "user" and turn.content is not None]
    if users and is_housekeeping([text_of(users[-1].content, "messages")]):
        return AnswerRequest("", HOUSEKEEPING, "", 0, sampling, traffic=False, messages=_as_they_are(asked))
    return AnswerRequest(
        question(_last_question(asked), "messages", settings),
        method,
        task,
        hits(options.top_k, "wbrag.top_k", settings, config),
        sampling,
        release(options.release, "wbrag.release", settings),
        talk=_talk(asked, settings) if known_task(task).prose else None,
        filter=filter_of(options.filter, "wbrag.filter"),
    )


def filter_of(given: dict[str, Any] | None, param: str) -> str:
    """A filter of metadata in its one form."""
    try:
        return checked_filter(given)
    except UsageError as error:
        raise Refusal(400, f"{param}: {error}", param=param) from None


def plain_question(
    text: str, settings: ServingConfig, config: Config, filter: dict[str, Any] | None = None
) -> AnswerRequest:
    """A question without a conversation, answered as the operator's defaults say."""
    asked = schemas.Chat(messages=[schemas.Turn(role="user", content=text)], wbrag=schemas.Options(filter=filter))
    return answer_request(asked, settings, config)


def task_of(name: str | None, method: str, settings: ServingConfig, config: Config, param: str = "wbrag.task") -> str:
    """The task that was asked for, or the operator's first that method and model are up to."""
    if name is not None:
        found = one_of(param, name, settings.tasks)
        if known_task(found).prose and method not in TALKING:
            raise Refusal(
                400, f"{param}: expected a method of {', '.join(TALKING)} for {found}: choose one", param=param
            )
        return found
    talks = method in TALKING and config.generator.model != "embedded"  # which never saw such a prompt
    return next((task for task in settings.tasks if talks or not known_task(task).prose), settings.tasks[0])


def answer_tokens(task: str, settings: ServingConfig, config: Config) -> int:
    """How long an answer may be where nobody says."""
    return settings.chat_tokens if known_task(task).prose else config.generator.max_answer_tokens


def _talk(asked: schemas.Chat, settings: ServingConfig) -> Conversation:
    """The turns of a chat within the operator's bounds, and what both say of how to answer."""
    turns = _as_they_are(asked)
    instructions = [settings.system_prompt, *(turn.content for turn in turns if turn.role == "system")]
    said = tuple(turn for turn in turns if turn.role != "system")
    last = max(place for place, turn in enumerate(said) if turn.role == "user")
    told = "\n\n".join(text for text in instructions if text.strip())
    return Conversation(recent(said[: last + 1], settings.history_tokens), told)


def _as_they_are(asked: schemas.Chat) -> tuple[Message, ...]:
    """The turns of a chat that have text; a developer's are a system's, a tool's are left out."""
    roles: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
    found = ((roles[turn.role], _texts(turn.content)) for turn in asked.messages if turn.role in roles)
    return tuple(Message(role, apart(text)) for role, text in found if text.strip())


def _texts(content: Any) -> str:
    """What of an earlier turn is text: an image that was sent then keeps nobody from asking on."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(text for text in parts if isinstance(text, str))


def models(settings: ServingConfig) -> list[str]:
    """`wbrag` for the operator's default method, `wbrag/METHOD` for each one allowed."""
    return [MODEL, *(f"{MODEL}/{method}" for method in settings.methods)]


def unknown_model(name: str, settings: ServingConfig) -> Refusal:
    known = ", ".join(models(settings))
    message = f"expected one of the models {known}, found {name[:80]!r}: choose one"
    return Refusal(404, message, param="model", code="model_not_found")


def question(text: str, param: str, settings: ServingConfig) -> str:
    """The question without the space around it."""
    text = text.strip().encode("utf-8", "replace").decode()  # half a surrogate pair is no character
    if not text:
        raise Refusal(400, f"{param}: expected a question, found no text: write one", param=param)
    if len(text) > settings.max_question_chars:
        most = settings.max_question_chars
        raise Refusal(400, f"{param}: expected a question of at most {most} characters: shorten it", param=param)
    return text


def hits(k: int | None, param: str, settings: ServingConfig, config: Config) -> int:
    """How many hits: what was asked for, or the operator's own number."""
    if k is not None and k > settings.max_top_k:
        raise Refusal(400, f"{param}: expected at most {settings.max_top_k}: ask for fewer", param=param)
    return k or min(config.retrieval.top_k, settings.max_top_k)


def release(name: str | None, param: str, settings: ServingConfig) -> str | None:
    if settings.releases == "latest-only" and name not in (None, "latest"):
        raise Refusal(400, f"{param}: expected latest, the operator allows no other: leave it out", param=param)
    return name


def _method_of(model: str, settings: ServingConfig) -> str:
    if model not in models(settings):
        raise unknown_model(model, settings)
    return model.partition("/")[2] or settings.methods[0]


def one_of(param: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise Refusal(400, f"{param}: expected one of {', '.join(allowed)}: choose one", param=param)
    return value


def _stop(stop: str | list[str] | None) -> tuple[str, ...]:
    found = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(found) > 4 or any(not 0 < len(text) <= 200 for text in found):
        raise Refusal(400, "stop: expected at most 4 strings of 1 to 200 characters: correct it", param="stop")
    return found


def _last_question(asked: schemas.Chat) -> str:
    """The text of the last user message."""
    content = next((turn.content for turn in reversed(asked.messages) if turn.role == "user"), None)
    if content is None:
        raise Refusal(400, "messages: expected a user message of text, found none: add one", param="messages")
    return text_of(content, "messages")


def text_of(content: Any, param: str) -> str:
    """A message's text: a string, or OpenAI's list of parts; what is no text (an image, a sound) is refused by name."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise Refusal(400, f"{param}: expected text or a list of parts, found neither: correct it", param=param)
    for part in content:
        if not isinstance(part.get("text"), str):
            kind = str(part.get("type", "part without text"))[:40]
            raise Refusal(
                400, f"{param}: expected text, found {kind!r}, which is not read: send text alone", param=param
            )
    return "\n".join(part["text"] for part in content)
