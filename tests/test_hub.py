"""The hub's grammar, its cache without a network, and a small server on this machine that plays the hub.

The client reads its settings when imported, so whatever resolves runs in a process of its own.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_parquet import table

from animepggan import hub
from animepggan.errors import HubError, ResourceError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER = "fedcba9876543210fedcba9876543210fedcba98"

# ---------------------------------------------------------------- grammar


@pytest.mark.parametrize(
    ("spec", "parsed"),
    [
        ("hub:alice/base", hub.HubSpec("model", "alice/base", None, None)),
        ("hub:alice/base@v1.0", hub.HubSpec("model", "alice/base", "v1.0", None)),
        ("hub:alice/base:stage-0064", hub.HubSpec("model", "alice/base", None, "stage-0064")),
        ("hub:a/b@refs/pr/1:x/y z", hub.HubSpec("model", "a/b", "refs/pr/1", "x/y z")),
        (f"hub:datasets/alice/faces@{COMMIT}:train.zip", hub.HubSpec("dataset", "alice/faces", COMMIT, "train.zip")),
    ],
)
def test_well_formed(spec: str, parsed: hub.HubSpec) -> None:
    assert hub.parse_spec(spec) == parsed
    assert str(parsed) == spec


@pytest.mark.parametrize(
    "spec",
    [
        "alice/base",
        "HUB:alice/base",
        "hub:",
        "hub:alice",
        "hub:/base",
        "hub:alice/",
        "hub:alice/base/more",
        "hub:datasets/faces",
        "hub:models/alice/base",
        "hub: alice/base",
        "hub:alice/ba se",
        "hub:alice/..",
        "hub:alice/a..b",
        "hub:../base",
        "hub:al--ice/base",
        "hub:-alice/base",
        "hub:alice/base@",
        "hub:alice/base@../../x",
        "hub:alice/base@/x",
        "hub:alice/base@a@b",
        "hub:alice/base@a b",
        "hub:alice/base:",
        "hub:alice/base:..",
        "hub:alice/base:../x",
        "hub:alice/base:a/../../x",
        "hub:alice/base:/etc",
        "hub:alice/base:a//b",
        "hub:alice/base:a/",
        "hub:alice/base:./a",
        "hub:alice/base:a\\..\\b",
        "hub:alice/base:a\x1b[2Jb",
    ],
)
def test_malformed_is_refused_with_an_example(spec: str) -> None:
    with pytest.raises(HubError) as caught:
        hub.parse_spec(spec)
    message = str(caught.value)
    assert "for example hub:" in message
    assert len(message.splitlines()) <= 3
    assert all(line.isprintable() for line in message.splitlines())
    assert caught.value.exit_code == 5


@settings(max_examples=60)
@given(st.text(max_size=30))
def test_no_subfolder_leads_out(text: str) -> None:
    try:
        parsed = hub.parse_spec(f"hub:alice/base@main:{text}")
    except HubError:
        return
    assert parsed.subfolder == text
    assert not Path(text).is_absolute()
    assert Path("/snapshot", text).resolve().is_relative_to("/snapshot")
    assert Path("/snapshot", text).resolve() != Path("/snapshot")


# ---------------------------------------------------------------- a process that resolves

SCRIPT = """
import json, logging, sys
from animepggan import hub
from animepggan.errors import AnimepgganError
logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
assert "huggingface_hub" not in sys.modules
answers = []
for call in json.loads(sys.argv[1]):
    try:
        if call.pop("corpus", False):
            from animepggan.corpus import spec
            source = spec.source_of(call["spec"])
            sizes = [len(entry.open().read()) for entry in source]
            names = [entry.name for entry in source]
            answers.append({"name": source.name, "commit": source.commit, "names": names, "sizes": sizes})
            continue
        local = hub.fetch(call.pop("spec"), **call)
        answers.append({"path": str(local.path), "revision": local.revision, "repo": local.repo, "spec": local.spec})
    except AnimepgganError as error:
        answers.append({"error": str(error), "exit": error.exit_code})
print(json.dumps(answers))
"""


@dataclass
class Outcome:
    answers: list[dict[str, Any]]
    stderr: str


def resolve(home: Path, *calls: str | dict[str, Any], endpoint: str = "http://127.0.0.1:9", **env: str) -> Outcome:
    """Resolve in a fresh process whose hub is at `endpoint` (by default at a port where nobody listens)."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_") and "proxy" not in key.lower()}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([{"spec": c} if isinstance(c, str) else c for c in calls])],
        env=kept | {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_TELEMETRY": "1"} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcome = Outcome(json.loads(done.stdout), done.stderr)
    for answer in outcome.answers:
        assert len(answer.get("error", "").splitlines()) <= 3
    return outcome


def fill_cache(home: Path, repo: str, commit: str, files: dict[str, bytes], kind: str = "model") -> Path:
    store = home / "hub" / f"{kind}s--{repo.replace('/', '--')}"
    (store / "refs").mkdir(parents=True, exist_ok=True)
    (store / "refs" / "main").write_text(commit)
    for name, content in files.items():
        blob = store / "blobs" / hashlib.sha256(content).hexdigest()
        blob.parent.mkdir(exist_ok=True)
        blob.write_bytes(content)
        link = store / "snapshots" / commit / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return store / "snapshots" / commit


# ---------------------------------------------------------------- without a network


@pytest.mark.parametrize("env", [{"HF_HUB_OFFLINE": "1"}, {}], ids=["switched off", "unreachable"])
def test_a_filled_cache_needs_no_network_and_the_commit_is_named(tmp_path: Path, env: dict[str, str]) -> None:
    snapshot = fill_cache(tmp_path, "alice/base", COMMIT, {"config.json": b"{}", "stage-0004/config.json": b"{}"})
    outcome = resolve(tmp_path, "hub:alice/base", "hub:alice/base@main:stage-0004", f"hub:alice/base@{COMMIT}", **env)
    assert [answer["path"] for answer in outcome.answers] == [
        str(snapshot),
        str(snapshot / "stage-0004"),
        str(snapshot),
    ]
    assert {answer["revision"] for answer in outcome.answers} == {COMMIT}
    assert [answer["repo"] for answer in outcome.answers] == ["alice/base"] * 3
    said = [line for line in outcome.stderr.splitlines() if "using commit" in line]
    assert len(said) == 2  # a pinned commit is what was asked for: nothing to say
    assert all(COMMIT in line for line in said)


def test_what_the_cache_does_not_hold_is_an_error_without_a_network(tmp_path: Path) -> None:
    fill_cache(tmp_path, "alice/base", COMMIT, {"config.json": b"{}"})
    calls = ["hub:bob/other", "hub:alice/base@v2", f"hub:alice/base@{OLDER}", "hub:alice/base:sub"]
    for env in ({"HF_HUB_OFFLINE": "1"}, {}):
        answers = resolve(tmp_path, *calls, **env).answers
        assert [answer["exit"] for answer in answers] == [5, 5, 5, 5]
        assert all("out of reach" in answer["error"] for answer in answers)
        assert all(call in answer["error"] for call, answer in zip(calls, answers, strict=True))


# ---------------------------------------------------------------- a hub on this machine


@dataclass
class Hub:
    """What the server knows: refs and files by repository path ("alice/base", "datasets/alice/faces")."""

    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    requests: int = 0
    cut: bool = False  # files end before they should
    url: str = ""

    def put(self, repo: str, files: dict[str, bytes], commit: str = COMMIT) -> None:
        self.refs.setdefault(repo, {})["main"] = commit
        self.files[repo, commit] = files


def handler(world: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None: ...

        def answer(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def json(self, value: object) -> None:
            self.answer(200, json.dumps(value).encode(), Content_Type="application/json")

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            world.requests += 1
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            api = parts[0] == "api"
            parts = parts[1:] if api else parts
            depth = 3 if parts[0] in ("models", "datasets") else 2
            repo = "/".join(parts[:depth]).removeprefix("models/")
            verb, rest = (parts[depth : depth + 1] or ["revision"])[0], parts[depth + 1 :] or ["main"]
            if repo in world.refusals:
                status, code = world.refusals[repo]
                return self.answer(status, **({"X_Error_Code": code} if code else {}))
            if repo not in world.refs:
                return self.answer(401)  # as the hub answers to strangers, lest they learn what is private
            commit = world.refs[repo].get(rest[0], rest[0])
            files = world.files.get((repo, commit))
            if files is None:
                return self.answer(404, X_Error_Code="RevisionNotFound")
            if verb == "revision":
                return self.json({"id": repo, "sha": commit, "siblings": [{"rfilename": name} for name in files]})
            if verb == "tree":
                return self.json(
                    [
                        {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                        for n, c in files.items()
                    ]
                )
            name = "/".join(rest[1:])
            if name not in files:
                return self.answer(404, X_Error_Code="EntryNotFound")
            if self.command == "GET":
                world.fetched.append(name)
            content = files[name]
            sent = content[: len(content) // 2] if world.cut else content
            if world.cut:
                self.close_connection = True
            return self.answer(
                200, sent, len(content), ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=commit
            )

    return Handler


@pytest.fixture
def world() -> Iterator[Hub]:
    world = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(world))
    world.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield world
    server.shutdown()
    server.server_close()
    thread.join()


CHECKPOINT = {"config.json": b"{}", "generator_ema.safetensors": b"weights" * 9, "README.md": b"#", "evil.pkl": b"x"}


def test_download_takes_only_what_is_asked_and_the_cache_serves_it_again(tmp_path: Path, world: Hub) -> None:
    world.put("alice/base", CHECKPOINT | {"stage-0004/config.json": b"{4}", "resume.safetensors": b"r"})
    outcome = resolve(tmp_path, "hub:alice/base", endpoint=world.url)
    (answer,) = outcome.answers
    assert answer["revision"] == COMMIT
    path = Path(answer["path"])
    assert (path / "generator_ema.safetensors").read_bytes() == b"weights" * 9
    assert sorted(world.fetched) == ["config.json", "generator_ema.safetensors"]
    assert "using commit" not in outcome.stderr

    # A subfolder, a lone weights file, and never a pickle, not even by name.
    calls = [
        "hub:alice/base@main:stage-0004",
        {"spec": "hub:alice/base:resume.safetensors", "allow_patterns": ["config.json"]},
        "hub:alice/base:evil.pkl",
    ]
    stage, lone, pickled = resolve(tmp_path, *calls, endpoint=world.url).answers
    assert Path(stage["path"], "config.json").read_bytes() == b"{4}"
    assert Path(lone["path"]).read_bytes() == b"r"
    assert pickled["exit"] == 5
    assert "evil.pkl" not in world.fetched

    world.requests = 0
    answers = resolve(
        tmp_path, f"hub:alice/base@{COMMIT}", "hub:alice/base:stage-0004", endpoint=world.url, HF_HUB_OFFLINE="1"
    ).answers
    assert [answer["path"] for answer in answers] == [str(path), str(path / "stage-0004")]
    assert world.requests == 0


def test_a_branch_moves_and_a_pin_does_not(tmp_path: Path, world: Hub) -> None:
    world.put("alice/base", {"config.json": b"old"}, OLDER)
    world.put("alice/base", {"config.json": b"new"}, COMMIT)
    answers = resolve(tmp_path, "hub:alice/base", f"hub:alice/base@{OLDER}", endpoint=world.url).answers
    assert [answer["revision"] for answer in answers] == [COMMIT, OLDER]
    assert [Path(answer["path"], "config.json").read_bytes() for answer in answers] == [b"new", b"old"]


def test_a_pin_that_the_cache_holds_is_not_asked_for(tmp_path: Path, world: Hub) -> None:
    world.put("alice/base", CHECKPOINT | {"stage-0004/config.json": b"{4}"})
    calls = [
        {"spec": f"hub:alice/base@{COMMIT}{below}", "allow_patterns": ["config.json"]} for below in ("", ":stage-0004")
    ]
    before = resolve(tmp_path, *calls, endpoint=world.url).answers
    world.requests = 0
    assert resolve(tmp_path, *calls, endpoint=world.url).answers == before
    assert world.requests == 0


def test_preferred_files_keep_others_away(tmp_path: Path, world: Hub) -> None:
    world.put("datasets/alice/faces", {"sample.png": b"p", "train.zip": b"z", "deep/b.zip": b"z2"})
    call: dict[str, Any] = {"allow_patterns": ["*.png", "*.zip"], "prefer": ["*.zip"]}
    (answer,) = resolve(tmp_path, call | {"spec": "hub:datasets/alice/faces"}, endpoint=world.url).answers
    assert answer["repo"] == "alice/faces"
    assert sorted(world.fetched) == ["deep/b.zip", "train.zip"]
    world.put("datasets/alice/loose", {"a.png": b"p", "b.txt": b"t"})
    (answer,) = resolve(tmp_path, call | {"spec": "hub:datasets/alice/loose"}, endpoint=world.url).answers
    assert Path(answer["path"], "a.png").read_bytes() == b"p"
    assert "b.txt" not in world.fetched


def test_a_dataset_is_a_corpus(tmp_path: Path, world: Hub) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("b.png", b"12345")
        archive.writestr("a.jpg", b"123")
    card = {"README.md": b"# faces", "load.pkl": b"no", "sample.PNG": b"1"}
    world.put("datasets/alice/packed", card | {"data/train.zip": packed.getvalue()})
    world.put("datasets/alice/loose", card | {"x/1.jpeg": b"12", "y/2.png": b"4444"})
    table(home := tmp_path / "train.parquet", [{"bytes": b"12345", "path": None}, {"bytes": b"1", "path": "x.png"}])
    world.put("datasets/alice/tables", card | {"data/train.parquet": home.read_bytes()})
    table(home, ["a caption"], kind=pa.string())
    world.put("datasets/alice/captions", card | {"metadata.parquet": home.read_bytes(), "x/1.png": b"123"})
    whole = ["hub:datasets/alice/packed", "hub:datasets/alice/loose", "hub:datasets/alice/tables"]
    whole.append("hub:datasets/alice/captions")
    parts = [
        "hub:datasets/alice/packed:data/train.zip",
        f"hub:datasets/alice/loose@{COMMIT}:x",
        "hub:datasets/alice/packed:sample.PNG",
    ]
    for env in ({}, {"HF_HUB_OFFLINE": "1"}):
        calls = [{"spec": call, "corpus": True} for call in (*whole, *parts)]
        packs, loose, tables, captions, one, sub, lone = resolve(tmp_path, *calls, endpoint=world.url, **env).answers
        assert packs["names"] == ["data/train.zip/a.jpg", "data/train.zip/b.png"]
        assert packs["sizes"] == [3, 5]
        assert (packs["name"], packs["commit"]) == ("packed", COMMIT)
        assert (loose["names"], loose["sizes"]) == (["sample.PNG", "x/1.jpeg", "y/2.png"], [1, 2, 4])
        assert (tables["names"], tables["sizes"]) == (["data/train.parquet/0", "data/train.parquet/1"], [5, 1])
        assert captions["names"] == ["sample.PNG", "x/1.png"]  # the table only describes them
        assert (one["names"], sub["names"], lone["names"]) == (["a.jpg", "b.png"], ["1.jpeg"], ["sample.PNG"])
    fetched = (
        "data/train.parquet data/train.zip metadata.parquet sample.PNG sample.PNG sample.PNG x/1.jpeg x/1.png y/2.png"
    )
    assert sorted(world.fetched) == fetched.split()


def test_each_refusal_says_what_to_do(tmp_path: Path, world: Hub) -> None:
    world.put("alice/base", {"other.txt": b""})
    world.refusals = {"alice/gated": (403, "GatedRepo"), "alice/forbidden": (403, None)}
    calls = ["hub:alice/none", "hub:alice/gated", "hub:alice/forbidden", "hub:alice/base@v9", "hub:alice/base"]
    missing, gated, forbidden, revision, empty = resolve(tmp_path, *calls, endpoint=world.url).answers
    assert {answer["exit"] for answer in (missing, gated, forbidden, revision, empty)} == {5}
    assert "no model alice/none" in missing["error"]
    assert "hf auth login" in missing["error"]
    assert "gated" in gated["error"]
    assert "hf auth login" in gated["error"]
    assert "403" in forbidden["error"]
    assert "hf auth login" in forbidden["error"]
    assert "no revision v9" in revision["error"]
    assert "no checkpoint files" in empty["error"]


@pytest.mark.parametrize("status", [503, 429])
def test_a_hub_in_trouble_means_the_cache(tmp_path: Path, world: Hub, status: int) -> None:
    world.put("alice/base", CHECKPOINT)
    (before,) = resolve(tmp_path, "hub:alice/base", endpoint=world.url).answers
    world.refusals["alice/base"] = (status, None)
    outcome = resolve(tmp_path, "hub:alice/base", endpoint=world.url)
    assert outcome.answers == [before]
    assert COMMIT in outcome.stderr


def test_a_connection_that_breaks_is_an_error_and_leaves_no_half_file(tmp_path: Path, world: Hub) -> None:
    world.put("alice/base", {"config.json": b"{}" * 500})
    world.cut = True
    (answer,) = resolve(tmp_path, "hub:alice/base", endpoint=world.url).answers
    assert answer["exit"] == 5
    assert not list(tmp_path.rglob("config.json"))


def test_a_full_disk_is_a_matter_of_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def full(*arguments: object, **named: object) -> str:
        raise RuntimeError("download failed") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(ResourceError, match="disk is full"):
        hub.fetch(f"hub:alice/base@{COMMIT}")
