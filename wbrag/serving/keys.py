"""API keys: WORKSPACE/keys.json, one entry per key, never the key itself.

A key is 256 random bits. A slow hash protects secrets that can be guessed; nobody guesses 256 random bits, so sha256 is
enough, and a wrong key costs the gateway microseconds instead of a tenth of a second.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
from collections.abc import Collection
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args
from uuid import uuid4

from wbrag.core.allowed import checked_groups
from wbrag.core.errors import UsageError, WbragError, unknown
from wbrag.core.io.append_log import AppendLog
from wbrag.core.io.durable import sync
from wbrag.core.io.files import Location, file_in_one_step, locked
from wbrag.core.io.watched import Watched
from wbrag.units.releases import now

if TYPE_CHECKING:
    from wbrag.core.io.objects import ObjectPath

Role = Literal["reader", "reviewer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may
ALL = "*"  # in place of groups: a key that sees everything
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True)
class Key:
    """Without groups it sees what is for everybody; with `*`, and as an admin's, everything."""

    name: str
    role: Role
    sha256: str
    created_at: str
    groups: tuple[str, ...] = ()

    @property
    def sees(self) -> frozenset[str] | None:
        """The groups whose documents its holder may see; None for all documents."""
        return None if self.role == "admin" or ALL in self.groups else frozenset(self.groups)


class SessionSecret(NamedTuple):
    """The one row of the table that holds it."""

    secret: str


class Keys:
    """The keys of one workspace; a change counts from the next request on, in an object store a moment later."""

    def __init__(self, workspace: Location) -> None:
        self.path = workspace / "keys.json"
        self.known = False  # once there were any: a share that is gone, or the last key removed, opens nothing
        self.watched = Watched[list[Key]](self.path, _read, [])

    def all(self) -> list[Key]:
        """Every key, oldest first. Raises `WbragError` where the file is not as wbrag writes it."""
        found = list(self.watched.value())
        self.known = self.known or bool(found)
        return found

    def _reread(self) -> list[Key]:
        """As they are at this moment, for whoever changes them."""
        self.watched.forget()
        return self.all()

    def add(self, name: str, role: str, groups: Collection[str] = ()) -> str:
        """A new key, which is shown here and never again."""
        allowed = tuple(sorted({ALL} & set(groups) or checked_groups(groups)))
        if not NAME.fullmatch(name):
            raise UsageError(
                f"expected a name of at most 64 letters, digits, dots, dashes and @, found {name!r}: choose another"
            )
        if role not in ROLES:
            raise unknown("role", role, list(ROLES))
        token = f"wbrag-{secrets.token_urlsafe(32)}"
        with locked(self.path.with_suffix(".lock")):
            keys = self._reread()
            if any(key.name == name for key in keys):
                raise UsageError(
                    f"expected a new name, found {name!r} in use: remove that key first, or choose another"
                )
            self._write([*keys, Key(name, role, digest(token), now(), allowed)])  # type: ignore[arg-type]
        return token

    def remove(self, name: str) -> None:
        """The key stops working at once, and so do the sessions that it opened."""
        with locked(self.path.with_suffix(".lock")):
            keys = self._reread()
            if all(key.name != name for key in keys):
                raise unknown("key", name, [key.name for key in keys])
            self._write([key for key in keys if key.name != name])

    def find(self, token: str) -> Key | None:
        """The key whose secret this is; every key is compared, each in constant time."""
        return self.of_digest(digest(token))

    def of_digest(self, sha256: str) -> Key | None:
        """The key with this digest, as a session remembers it."""
        found = None
        for key in self.all():
            if hmac.compare_digest(key.sha256.encode(), sha256.encode()):
                found = key
        return found

    def _write(self, keys: list[Key]) -> None:
        with file_in_one_step(self.path) as scratch:
            scratch.touch(mode=0o600)
            rows = [{k: v for k, v in asdict(key).items() if k != "groups" or v} for key in keys]
            scratch.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        self.watched.forget()


def digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def check_bind(host: str, https: bool, keys: Keys) -> None:
    """Raises `UsageError` for what others can reach, an address or a proxy's https, as long as no key is set."""
    if (https or not is_loopback(host)) and not keys.all():
        where = "behind a proxy (serving.https)" if https else f"on {host!r}"
        raise UsageError(
            f"expected keys before listening {where}, found none: run `wbrag keys add --name NAME --role admin`, "
            "or serve this machine alone, on 127.0.0.1 without https"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`, a name or an address without port."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def session_secret(workspace: Location) -> str:
    """What signs the pages' cookies: made once per workspace, the same for every replica."""
    path = workspace / ".session_secret"
    if not isinstance(path, Path):
        return _secret_in_store(path)
    if not path.is_file():
        workspace.mkdir(parents=True, exist_ok=True)
        scratch = path.parent / f".session_secret.{uuid4().hex[:8]}.tmp"
        try:
            scratch.touch(mode=0o600)
            scratch.write_text(secrets.token_hex(32), encoding="ascii")
            sync(scratch)
            os.link(scratch, path)  # unlike a rename it fails where another replica was first
        except FileExistsError:
            pass
        finally:
            scratch.unlink(missing_ok=True)
            sync(path.parent)
    return path.read_text(encoding="ascii")


def _secret_in_store(folder: ObjectPath) -> str:
    """A table of one row: its first commit is the one thing that only one of several machines can write."""
    log = AppendLog(folder, SessionSecret)
    if log.version == -1:
        with suppress(WbragError):  # another was first, or the store is away, which reading it will tell
            log.append([SessionSecret(secrets.token_hex(32))], after=-1)
    return log.rows()[0].secret


def _groups(listed: list[str]) -> tuple[str, ...]:
    if not isinstance(listed, list):
        raise TypeError
    return tuple(sorted({ALL} & set(listed) or checked_groups(listed)))


def _read(path: Location) -> list[Key]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        keys = [Key(**{**row, "groups": _groups(row.get("groups", []))}) for row in rows]
        if all(k.role in ROLES and re.fullmatch("[0-9a-f]{64}", k.sha256) and isinstance(k.name, str) for k in keys):
            return keys
    except (AttributeError, TypeError, ValueError, UsageError):
        pass
    raise WbragError(
        f"expected a list of keys in {path}, found something else: restore it, or remove it and add the keys again"
    )
