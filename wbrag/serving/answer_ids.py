"""Answer ids: what a reply is rated by, made here for one key, so that every replica can tell whose it is.

An id is random, with a code over it and the key's name under the workspace's secret: nobody makes one up, and nobody
rates another's answer. The header `x-request-id` is the client's own, for its logs.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

CODE = 16  # hex digits of the code: 64 bits, and each guess costs a request


def issue(secret: str, name: str) -> str:
    """A new id, 32 hex digits, for an answer to the key `name`."""
    drawn = secrets.token_hex(8)
    return drawn + _code(secret, name, drawn)


def issued_to(secret: str, name: str, id: str) -> bool:
    """Whether `id` was made here for the key `name`."""
    drawn, code = id[:-CODE], id[-CODE:]
    return len(id) == 2 * CODE and hmac.compare_digest(code.encode(), _code(secret, name, drawn).encode())


def _code(secret: str, name: str, drawn: str) -> str:
    return hmac.new(secret.encode(), f"{name}\n{drawn}".encode(), hashlib.sha256).hexdigest()[:CODE]
