"""The page for a person and the pictures on it, served on 127.0.0.1 to whoever has the address with its random token.

Every request has to come with that token, the right Host and, if it names one, the page's own Origin: so no other page
in the same browser, and no other user of the machine, reads or changes anything. Nothing in a request is ever a path:
pictures are asked for by their places in the description. Whatever is asked for otherwise gets 403.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from importlib import resources
from pathlib import Path
from socketserver import BaseServer, ThreadingTCPServer
from typing import Any

from animepggan.bar import Bar, Say
from animepggan.corpus.names import printable
from animepggan.corpus.source import Source
from animepggan.disk import expanded, locked
from animepggan.errors import AnimepgganError, RecipeError, resource_error
from animepggan.review_page.decisions import NAME, Decisions

HOST = "127.0.0.1"
_MAX_BODY = 4 << 20  # bytes
_PAGE = {"": "text/html", "page.css": "text/css", "page.js": "text/javascript"}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",  # the address is the key
    "X-Content-Type-Options": "nosniff",
}

_log = logging.getLogger(__name__)

Rank = Callable[[Bar, Source, Path, Source | None, Source | None], object]
"""Called as rank(bar, pictures, folder, keep, reject); see `decisions.Curate`."""


@dataclass(frozen=True)
class Review:
    """What a review came to, in pictures."""

    description: Path
    trained: int
    left_out: int
    kept: int  # by hand
    rejected: int  # by hand
    done: bool  # the button was pressed; else it was interrupted


def serve(folder: str | Path, rank: Rank, *, port: int, show: Say) -> Review:
    """Let a person review the description in `folder` until they are done or the process is interrupted.

    `port` 0: any that is free. `show` is called with the address once the page can be opened.
    Raises what `Decisions` raises, BusyError where the folder is being reviewed, RecipeError where the port is taken.
    """
    place = expanded(folder)
    if place.name == NAME and place.is_file():
        place = place.parent
    decisions = Decisions(place)
    busy = f"{printable(str(place))} is being reviewed already\npress Done there first"
    with locked(place / ".review.lock", busy=busy):
        desk = Desk(decisions, rank, place.resolve().name)
        try:
            server = _Server((HOST, port), partial(_Request, desk))
        except OSError as error:
            raise RecipeError(f"port {port}: {error.strerror or error}; name another --port, or none") from error
        with server:
            desk.host = f"{HOST}:{server.server_address[1]}"
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                show(f"http://{desk.host}/{desk.token}/")
                while not desk.done.wait(0.5):  # a wait without an end cannot be interrupted on Windows
                    pass
            except KeyboardInterrupt:
                pass
            finally:
                pressed = desk.done.is_set()
                desk.close()
                server.shutdown()
    found = decisions.counts
    return Review(
        decisions.path, **{name: found[name] for name in ("trained", "left_out", "kept", "rejected")}, done=pressed
    )


class _Server(ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = os.name == "posix"  # elsewhere it would let another program take the port over
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):  # browsers hang up as they like
            _log.warning("the review's page was not answered", exc_info=True)


class _Stopped(Exception):
    """A ranking that is not wanted any more."""


class Desk:
    """What all requests share: the decisions, one at a time, and whether they are being ranked."""

    def __init__(self, decisions: Decisions, rank: Rank, title: str) -> None:
        self.decisions = decisions
        self.token = secrets.token_urlsafe(24)
        self.host = ""  # with the port
        self.done = threading.Event()
        self._rank = rank
        self._title = title
        self._lock = threading.Lock()
        self._closed = False
        self._stop = threading.Event()
        self._ranking: threading.Thread | None = None
        self._progress = {"what": "", "done": 0, "total": 0}
        self._failure = ""  # of the last ranking, until the next one

    def state(self) -> dict[str, Any]:
        """All that the page shows."""
        with self._lock:
            rows = [] if self._ranking else [self.decisions.told(place) for place in self.decisions.shown]
            return {"title": printable(self._title), "rows": rows, **self._told()}

    def _told(self) -> dict[str, Any]:
        return {
            "counts": self.decisions.counts,
            "version": self.decisions.version,
            "edition": self.decisions.edition,
            "ranking": self._progress if self._ranking else None,
            "failure": self._failure,
        }

    def change(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Do what the page asks for: {"do": "keep" or "reject", "places": [...]}, or {"do": "undo"}, and so on.

        ValueError for what it never asks for.
        """
        do = wanted.get("do")
        if do == "stop":
            self._stop.set()
            return {}
        with self._lock:
            if self._closed or self.done.is_set():
                raise AnimepgganError("the review has ended")
            if self._ranking:
                raise AnimepgganError("the pictures are being ranked")
            changed: list[int] = []
            if do in ("keep", "reject"):
                changed = self.decisions.decide(_places(wanted.get("places")), keep=do == "keep")
            elif do == "undo":
                changed = self.decisions.undo()
            elif do == "rank":
                self._stop.clear()
                self._failure = ""
                self._ranking = threading.Thread(target=self._run_ranking, daemon=True)
                self._ranking.start()
            elif do == "done":
                self.done.set()
            else:
                raise ValueError("there is nothing of that kind to do")
            return {"rows": [self.decisions.told(place) for place in changed], **self._told()}

    def _run_ranking(self) -> None:
        def bar(what: str, done: int, total: int) -> None:
            if self._stop.is_set():
                raise _Stopped
            self._progress = {"what": what, "done": done, "total": total}

        failure = ""
        try:
            self.decisions.rank(partial(self._rank, bar))
        except _Stopped:
            pass
        except Exception as error:
            ours = error if isinstance(error, AnimepgganError) else resource_error(error)
            failure = str(ours or f"{type(error).__name__}: {error}")
            if ours is None:
                _log.warning("the pictures were not ranked", exc_info=True)
        with self._lock:
            self._failure = failure
            self._ranking = None

    def close(self) -> None:
        """Let nothing be changed from now on."""
        self._stop.set()
        with self._lock:
            self._closed = True
            ranking = self._ranking
        if ranking is not None:
            ranking.join()


def _places(value: object) -> list[int]:
    if not isinstance(value, list) or not all(type(place) is int for place in value):
        raise ValueError("places are a list of whole numbers")
    return value


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "animepggan", ""
    timeout = 60  # seconds that a connection may say nothing

    def __init__(self, desk: Desk, request: Any, client_address: Any, server: BaseServer) -> None:
        self.desk = desk
        super().__init__(request, client_address, server)

    def do_GET(self) -> None:
        """The page, what it shows, and its pictures."""
        if (what := self._admitted()) is None:
            return
        if what in _PAGE:
            page = resources.files(__package__).joinpath(what or "page.html").read_bytes()
            self._answer(page, f"{_PAGE[what]}; charset=utf-8")
        elif what == "state":
            self._answer_json(self.desk.state())
        elif what.startswith("picture/") and (number := what.removeprefix("picture/")).isdecimal() and len(number) < 10:
            picture = self.desk.decisions.thumbnail(int(number))
            if picture is None:
                self._answer(b"", "text/plain", status=HTTPStatus.NOT_FOUND)
            else:
                self._answer(picture, "image/webp", cache="private, max-age=86400, immutable")
        else:
            self._refuse()

    def do_POST(self) -> None:
        """What a person decides."""
        if (what := self._admitted()) is None:
            return
        length = self.headers.get("Content-Length", "")
        if what != "change" or not length.isdecimal() or int(length) > _MAX_BODY:
            self._refuse()
            return
        body = self.rfile.read(int(length))
        try:
            wanted = json.loads(body)
            if not isinstance(wanted, dict):
                raise ValueError("not an object")
            self._answer_json(self.desk.change(wanted))
        except AnimepgganError as error:
            self._answer_json({"error": str(error)}, HTTPStatus.CONFLICT)
        except (ValueError, RecursionError) as error:
            self._answer_json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except OSError as error:  # of the disk: those of the connection are no answer's
            if isinstance(error, (ConnectionError, TimeoutError)):
                raise
            told = resource_error(error) or error
            self._answer_json({"error": f"not saved: {told}"}, HTTPStatus.INSUFFICIENT_STORAGE)

    def _admitted(self) -> str | None:
        """What is asked for, below the token; None, and a refusal is sent, where somebody else asks."""
        parts = self.path.partition("?")[0].split("/", 2)  # "", the token, what is asked for
        key = f"/{self.desk.token}/".encode()
        own = secrets.compare_digest("/".join([*parts[:2], ""]).encode("utf-8", "surrogateescape"), key)
        hosts = (self.desk.host, self.desk.host.replace(HOST, "localhost"))
        host = self.headers.get_all("Host", [])
        origin = self.headers.get_all("Origin", [f"http://{host[0]}"] if host else [])
        if not own or len(parts) != 3 or len(host) != 1 or host[0] not in hosts or origin != [f"http://{host[0]}"]:
            self._refuse()
            return None
        return parts[2]

    def _refuse(self) -> None:
        self.close_connection = True  # what it still sends is not read
        self._answer(b"forbidden\n", "text/plain", status=HTTPStatus.FORBIDDEN)

    def _answer_json(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._answer(json.dumps(value).encode(), "application/json", status=status)

    def _answer(self, body: bytes, kind: str, *, status: HTTPStatus = HTTPStatus.OK, cache: str = "no-store") -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": cache}.items():
            self.send_header(name, value)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: only the command line prints."""
