"""`hub:owner/name[@revision][:subfolder]` to a local folder: the only module that uses the network.

The hub's own client does the work (cache, tokens, resumed downloads, `HF_HOME`, `HF_ENDPOINT`, `HF_HUB_OFFLINE`); what
is added here is a strict grammar, a full commit for the provenance, a list of the files that may be fetched (never
everything: a repository may hold pickles), and errors of one to three lines. The client is imported when first needed.
"""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from animepggan.errors import AnimepgganError, HubError, ResourceError, disk_is_full

CHECKPOINT_FILES = (
    "config.json",
    "manifest.json",
    "generator_ema.safetensors",
    "generator.safetensors",
    "discriminator.safetensors",
)
"""What `fetch` fetches unless told otherwise: a checkpoint folder, without what only its own run can go on from."""

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+#-]*")
_TIMEOUT = 10.0  # seconds to wait for the hub's first answer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HubSpec:
    """A parsed hub specification."""

    kind: Literal["model", "dataset"]
    repo: str  # owner/name
    revision: str | None  # branch, tag or commit; None: the default branch
    subfolder: str | None  # path inside the repository, a folder or a file, `/` between its parts

    def __str__(self) -> str:
        prefix = "datasets/" if self.kind == "dataset" else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"hub:{prefix}{self.repo}{revision}" + (f":{self.subfolder}" if self.subfolder else "")


@dataclass(frozen=True)
class Local:
    """What a hub specification resolved to."""

    path: Path  # the folder (or the file, where the subfolder names one)
    repo: str  # owner/name
    revision: str  # the full commit, 40 hexadecimal digits
    spec: str  # as given


def parse_spec(spec: str) -> HubSpec:
    """Take `hub:[datasets/]owner/name[@revision][:subfolder]` apart; anything else is a HubError with an example."""
    body = spec.removeprefix("hub:")
    if body == spec:
        raise _malformed(spec, "it does not begin with hub:")
    head, colon, subfolder = body.partition(":")
    repo, at, revision = head.partition("@")
    kind: Literal["model", "dataset"] = "model"
    if repo.startswith("datasets/"):
        kind, repo = "dataset", repo.removeprefix("datasets/")
    if not _REPO.fullmatch(repo) or "--" in repo or ".." in repo:
        raise _malformed(spec, f"{repo!r} is not owner/name", kind)
    if at and (not _REVISION.fullmatch(revision) or not _plain_path(revision)):
        raise _malformed(spec, f"{revision!r} is not a branch, a tag or a commit", kind)
    if colon and not _plain_path(subfolder):
        raise _malformed(spec, f"{subfolder!r} is not a path inside the repository", kind)
    return HubSpec(kind, repo, revision or None, subfolder or None)


def fetch(
    spec: str,
    *,
    allow_patterns: Sequence[str] | None = None,  # None: CHECKPOINT_FILES
    prefer: Sequence[str] = (),
    wanted: str = "checkpoint files",
) -> Local:
    """Bring the files of a hub repository into the cache and say where they are and at which commit.

    `allow_patterns` match whole paths below the subfolder (`*` crosses `/`); nothing else is fetched. Where any file
    matches `prefer`, only such files are fetched. The subfolder may name one file: a .safetensors, or one that the
    patterns allow. `wanted` says in words what the patterns stand for, for the error when there is nothing of the kind.

    Files that are named in full and that the cache holds at a full commit are not asked for. Without a network (or with
    HF_HUB_OFFLINE=1) the cache serves; a branch or tag then means the commit that it meant last, which is logged as a
    warning. Raises HubError, or ResourceError when the disk is full.
    """
    parsed = parse_spec(spec)
    choices = [tuple(prefer)] if prefer else []
    choices.append(CHECKPOINT_FILES if allow_patterns is None else tuple(allow_patterns))
    if (folder := _pinned(parsed, choices[-1])) is not None:
        return Local(folder / (parsed.subfolder or ""), parsed.repo, folder.name, spec)
    silence: str | None = None
    try:
        with _quiet_client():
            silence = _ask(parsed)
            for patterns in choices:
                folder = _snapshot(parsed, patterns, local_only=silence is not None)
                path = folder / parsed.subfolder if parsed.subfolder else folder
                if _holds(path, patterns):
                    break
            else:
                where = f"under {parsed.subfolder} " if parsed.subfolder else ""
                there = f"in the cache, and the hub is out of reach ({silence})" if silence else "in that repository"
                raise HubError(f"{parsed}: there are no {wanted} {where}{there}\ncheck the name and the subfolder")
    except (AnimepgganError, MemoryError):
        raise
    # The client raises errors of its own, of its HTTP library, of the system and of its download helper; all of them
    # mean the same to the user: the hub did not deliver.
    except Exception as error:
        raise _explain(parsed, error, silence) from error
    if silence is not None and folder.name != parsed.revision:
        log.warning("%s: the hub is out of reach (%s); using commit %s from the cache", parsed, silence, folder.name)
    return Local(path, parsed.repo, folder.name, spec)


def _pinned(parsed: HubSpec, files: Sequence[str]) -> Path | None:
    """The snapshot folder where the cache holds all of `files` at a full commit, which never changes; else None."""
    from huggingface_hub import try_to_load_from_cache

    if re.fullmatch(r"[0-9a-f]{40}", parsed.revision or "") is None:
        return None
    names = [f"{parsed.subfolder}/{file}" if parsed.subfolder else file for file in files]
    where = {"revision": parsed.revision, "repo_type": parsed.kind}
    held = (try_to_load_from_cache(parsed.repo, name, **where) for name in names)
    paths = [Path(path) for path in held if isinstance(path, str)]
    return paths[0].parents[names[0].count("/")] if len(paths) == len(names) else None


def _malformed(spec: str, why: str, kind: str = "model") -> HubError:
    form, example = "hub:owner/name[@revision][:subfolder]", "hub:alice/anime-base@v1:stage-0064"
    if kind == "dataset":
        form, example = "hub:datasets/owner/name[@revision][:subfolder]", "hub:datasets/alice/faces@main:images"
    return HubError(f"{spec!a} is not a hub specification: {why}\nit reads {form}, for example {example}")


def _plain_path(path: str) -> bool:
    """Whether `path` is relative, has no empty, `.` or `..` part, and nothing that is not printable."""
    return path.isprintable() and "\\" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


def _ask(parsed: HubSpec) -> str | None:
    """None when the hub answered, else why it did not: one quick question, since a download would retry for long."""
    from huggingface_hub import HfApi

    try:
        HfApi().repo_info(parsed.repo, repo_type=parsed.kind, revision=parsed.revision, timeout=_TIMEOUT)
    except Exception as error:
        status = _status(error)
        if status is not None and 400 <= status < 500 and status not in (408, 429):
            raise  # the hub said no, rather than nothing or "later"
        return _first_line(error)
    return None


def _snapshot(parsed: HubSpec, patterns: Sequence[str], *, local_only: bool) -> Path:
    """The snapshot folder `.../snapshots/<commit>` with the files that match, fetched unless `local_only`."""
    from huggingface_hub import snapshot_download

    allow = list(patterns)
    if parsed.subfolder:
        exact = glob.escape(parsed.subfolder)
        allow = [f"{exact}/{pattern}" for pattern in patterns]
        if _matches(parsed.subfolder.rpartition("/")[2], (*patterns, "*.safetensors")):
            allow.append(exact)
    where: dict[str, Any] = {"repo_type": parsed.kind, "revision": parsed.revision, "local_files_only": local_only}
    return Path(snapshot_download(parsed.repo, allow_patterns=allow, **where))


def _holds(path: Path, patterns: Sequence[str]) -> bool:
    """Whether `path` is a file, or a folder with a file in it that matches."""
    return path.is_file() or any(
        _matches(file.relative_to(path).as_posix(), patterns) and file.is_file() for file in path.rglob("*")
    )


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


@contextmanager
def _quiet_client() -> Iterator[None]:
    """Keep the client's own warnings from the terminal: what matters of them is in our errors."""
    from huggingface_hub.utils import logging as client_logging

    before = client_logging.get_verbosity()
    client_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        client_logging.set_verbosity(before)


def _status(error: BaseException) -> int | None:
    """The HTTP status behind `error`, if an answer came at all."""
    code = getattr(getattr(error, "response", None), "status_code", None)
    return code if isinstance(code, int) else None


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = "".join(filter(str.isprintable, lines[0])).strip() if lines else type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def _explain(parsed: HubSpec, error: Exception, silence: str | None) -> AnimepgganError:
    from huggingface_hub import errors

    what = f"{parsed.kind} {parsed.repo}"
    links: list[BaseException] = [error]  # and what caused it
    while (cause := links[-1].__cause__ or links[-1].__context__) is not None:
        links.append(cause)
    for link in links:
        if disk_is_full(link):
            return ResourceError(
                f"{parsed}: the disk is full\n"
                "free some space, or move the hub's cache to another disk with HF_HOME=/path"
            )
    for link in links:
        status = _status(link)
        if isinstance(link, errors.GatedRepoError):
            told = f"{what} is gated: accept its terms on its page at the hub,"
            cure = "then log in with `hf auth login` and run this again"
        elif isinstance(link, errors.RevisionNotFoundError):
            told = f"{what} has no revision {parsed.revision or 'main'}"
            cure = "check the branch, tag or commit"
        # The hub answers 401 to strangers for what does not exist, lest they learn what is private.
        elif isinstance(link, errors.RepositoryNotFoundError) or status in (401, 404):
            told = f"the hub has no {what}, or it is private"
            cure = "check the name; for a private one log in with `hf auth login`"
        elif status == 403:
            told = f"the hub gives no access to {what} (HTTP 403)"
            cure = "log in with `hf auth login`, with a token that may read it"
        else:
            continue
        return HubError(f"{parsed}: {told}\n{cure}")
    if silence is not None:
        return HubError(
            f"{parsed}: the hub is out of reach ({silence}) and the cache does not hold all of it\n"
            "run this once with a network (HF_HUB_OFFLINE unset), or give a local folder"
        )
    return HubError(f"{parsed}: the hub did not deliver: {_first_line(error)}\ntry again; what has come is kept")
