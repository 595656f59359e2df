"""Dialect of an OpenAI-compatible endpoint: which fields it takes, under which names, and in which roles.

It starts from the setting `generator.request` and learns from refusals that name what was sent: a request that an
endpoint does not understand is sent again as it wants it, and every later one goes that way at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wbrag.core.model_sections import RequestConfig

LENGTH, NEWER_LENGTH = "max_tokens", "max_completion_tokens"
OPTIONAL = ("temperature", "seed", "stop", "stream_options")  # without them an answer is still an answer
STATUSES = (400, 422, 424, 500, 501)  # a chat template's own refusal is a 500 on some servers
_NO = r"(?:not|n't|unsupported|disabled|invalid|only|cannot)"
_ROLES = re.compile(  # what templates and vendors say of a role; "system overloaded" is something else
    rf"roles? must alternate|only user(?:,| and) assistant"
    rf"|\b(?:system|developer)['\"]?\s+(?:role|message|prompt|instruction)s?\b.{{0,40}}\b{_NO}\b"
    rf"|\brole\b.{{0,40}}{_NO}.{{0,30}}\b(?:system|developer)\b"
    rf"|\b{_NO}\b.{{0,40}}\b(?:system|developer)['\"]?\s+(?:role|message|prompt|instruction)",
    re.IGNORECASE,
)
Body = dict[str, Any]


@dataclass(frozen=True)
class Dialect:
    """What is sent in place of the standard fields. `folds`: the system prompt is put before the user's text."""

    extra: Mapping[str, Any] = field(default_factory=dict)
    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    folds: bool = False
    learned: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: RequestConfig, template: Mapping[str, Any], folds: bool) -> Dialect:
        """As the settings say; `template` are the arguments of the chat template, which vLLM's server takes."""
        extra = {**({"chat_template_kwargs": dict(template)} if template else {}), **settings.extra_body}
        return cls(extra, frozenset(settings.drop), dict(settings.rename), folds)

    def spoken(self, body: Body) -> Body:
        """The request in this dialect."""
        said = {self.rename.get(name, name): value for name, value in body.items() if name not in self.drop}
        if self.extra:
            said["extra_body"] = {**said.get("extra_body", {}), **self.extra}
        if self.folds:
            said["messages"] = folded(said["messages"])
        return said

    def adapted(self, status: int, named: frozenset[str], text: str, body: Body) -> Dialect | None:
        """The dialect that goes round a refusal of `body` (standard fields), None where nothing is left to try."""
        if status not in STATUSES:
            return None
        roles = [message["role"] for message in body["messages"]]
        if not self.folds and _ROLES.search(text) and folded(body["messages"]) != body["messages"]:
            what = "system prompt" if "system" in roles else "two turns of one role"
            said = f"takes no {what}: it is folded into the user's text"
            return replace(self, folds=True, learned=(*self.learned, said))
        if status >= 500:
            return None
        for name in (name for name in body if self.rename.get(name, name) in named and name not in self.drop):
            if name == LENGTH and name not in self.rename:
                said = f"takes no {LENGTH}: {NEWER_LENGTH} is sent"
                return replace(self, rename={**self.rename, LENGTH: NEWER_LENGTH}, learned=(*self.learned, said))
            if name in OPTIONAL:
                said = f"takes no {name} of ours: it goes by its own"
                return replace(self, drop=self.drop | {name}, learned=(*self.learned, said))
        return None


def folded(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages without a system role and with roles that alternate: texts of one turn are joined by an empty line."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        role = "user" if message["role"] == "system" else message["role"]
        if turns and turns[-1]["role"] == role:
            turns[-1] = {**turns[-1], "content": f"{turns[-1]['content']}\n\n{message['content']}"}
        else:
            turns.append({**message, "role": role})
    return turns
