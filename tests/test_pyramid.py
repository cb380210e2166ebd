"""The pyramid on disk: what is in it, when it is built, what becomes of a damaged one, who waits for whom."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus import Corpus, description
from animepggan.corpus.decode import decode
from animepggan.corpus.pyramid import ClusterTable, Pyramid, Shape, halve, open_pyramid, shard
from animepggan.corpus.spec import Entry, Source, source_of
from animepggan.errors import DataError, RecipeError, ResourceError
from animepggan.streams import stream

BUDGET = "ANIMEPGGAN_PYRAMID_GB"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(BUDGET, raising=False)
    return tmp_path / "cache" / "pyramids"


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of about eight pictures."""
    for name, value in (("LEAST", 8), ("MOST", 1 << 20)):
        monkeypatch.setattr(shard, name, value)


def noise(number: int, side: int = 16) -> Image.Image:
    """A picture like no other; its first pixel's red is `number`."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    pixels[0, 0, 0] = number % 256
    return Image.fromarray(pixels)


def write(path: Path, number: int, side: int = 16) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise(number, side).save(path)


def folder_of(root: Path, count: int, side: int = 16) -> Path:
    """000.png and so on; of side 16 they are decoded to 16 px as they are."""
    for number in range(count):
        write(root / f"{number:03d}.png", number, side)
    return root


def load(data: Path | str | Source, resolution: int = 16, **options: Any) -> Corpus:
    return Corpus.load(str(data) if isinstance(data, Path) else data, resolution=resolution, **options)


class Watched:
    """A folder whose pictures note it when they are opened."""

    def __init__(self, data: Path | str) -> None:
        self.data = str(data)
        self.opened: list[str] = []
        self.instead: Callable[[str], object] = lambda name: None  # called before each opening

    def load(self, resolution: int = 16, **options: Any) -> Corpus:
        """The corpus as it is now; `opened` starts anew."""
        self.opened.clear()
        return load(self.source(), resolution, **options)

    def source(self) -> Source:
        source = source_of(self.data)
        return replace(source, find=lambda: [*map(self._watch, source.entries), *source.skipped])

    def said(self, **options: Any) -> list[str]:
        lines: list[str] = []
        self.load(say=lines.append, **options)
        return lines

    def stopped(self, after: int, **options: Any) -> None:
        """A build that ends after so many pictures, as if it were killed."""
        self.opened.clear()

        def stop(_: str) -> None:
            if len(self.opened) > after:
                raise MemoryError

        self.instead = stop
        with pytest.raises(MemoryError):
            load(self.source(), workers=0, **options)
        self.instead = lambda name: None

    def _watch(self, entry: Entry) -> Entry:
        def opening() -> BinaryIO:
            self.opened.append(entry.name)
            self.instead(entry.name)
            return entry.open()

        return replace(entry, open=opening)


def only_folder(cache: Path) -> Path:
    (found,) = (path for path in cache.iterdir() if path.is_dir())
    return found


def shards_of(cache: Path) -> dict[str, int]:
    """The shards that are there, and which file each one is."""
    return {path.name: path.stat().st_ino for path in only_folder(cache).glob("shard-*.pixels")}


def pixels_of(corpus: Corpus, resolution: int | None = None) -> NDArray[np.uint8]:
    return corpus.pictures(range(len(corpus.names)), resolution=resolution)


def wanted_pixels(root: Path, names: list[str], side: int = 16) -> NDArray[np.uint8]:
    return np.stack([decode((root / name).open("rb"), resolution=side, background=(255, 255, 255)) for name in names])


def in_another_process(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


# ---------------------------------------------------------------- what is in it


def test_pixels_lie_in_files_as_they_are(tmp_path: Path, cache: Path) -> None:
    corpus = load(folder_of(tmp_path / "set", 70))
    folder = only_folder(cache)
    assert re.fullmatch(r"set-16px-[0-9a-f]{16}", folder.name)
    (name,) = shards_of(cache)
    assert {path.name for path in folder.iterdir()} == {"index.record", name}
    level = wanted_pixels(tmp_path / "set", list(corpus.names))
    whole = b""
    for side in (16, 8, 4):
        whole += level.tobytes()
        assert np.array_equal(pixels_of(corpus, side), level)
        level = halve(level)
    assert (folder / name).read_bytes().startswith(whole)


def test_only_the_top_level_is_resized_from_the_source(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 3, side=50)
    large, small = load(root, 32), load(root, 16)
    assert np.array_equal(pixels_of(large, 16), halve(pixels_of(large)))
    assert np.array_equal(pixels_of(small), wanted_pixels(root, list(small.names), 16))
    assert not np.array_equal(pixels_of(large, 16), pixels_of(small))


def test_fingerprint_is_the_one_of_before_there_were_pyramids(tmp_path: Path) -> None:
    """Runs of before can be resumed: names and the digests of pixels, colors first, as the first release had it."""
    root = folder_of(tmp_path / "set", 5, side=20)
    whole = hashlib.sha256()
    for number in range(5):
        picture = decode((root / f"{number:03d}.png").open("rb"), resolution=16, background=(255, 255, 255))
        digest = hashlib.sha256(b"(3, 16, 16)" + picture.transpose(2, 0, 1).tobytes()).hexdigest()
        whole.update(f"{number:03d}.png".encode() + b"\0" + digest.encode())
    corpus = load(root)
    assert corpus.fingerprint == whole.hexdigest()
    pictures = torch.from_numpy(pixels_of(corpus)).permute(0, 3, 1, 2)
    assert Corpus(pictures, list(corpus.names), name="x", spec="x").fingerprint == whole.hexdigest()


def test_the_order_is_the_one_of_before_there_were_pyramids(tmp_path: Path) -> None:
    corpus = load(folder_of(tmp_path / "set", 9))
    for epoch in range(3):
        order = torch.randperm(9, generator=stream("order", 5, epoch)).tolist()
        flips = torch.randint(2, (9,), generator=stream("mirror", 5, epoch)).tolist()
        batch = corpus.batch(9 * epoch, 9, resolution=16, seed=5, mirror=True)
        for picture, place, flip in zip(batch, order, flips, strict=True):
            plain = torch.from_numpy(corpus.pictures([place])[0]).permute(2, 0, 1).float() / 127.5 - 1
            assert torch.equal(picture, plain.flip(2) if flip else plain)


@settings(max_examples=25)
@given(st.integers(0, 500), st.integers(1, 30), st.booleans(), st.sampled_from([0, 4]), st.sampled_from([4, 8, 16]))
def test_batches_from_disk_are_those_from_memory(
    tmp_path_factory: pytest.TempPathFactory, start: int, size: int, mirror: bool, shift: int, resolution: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "shared"
    if not root.exists():
        folder_of(root, 11, side=40)
    disk = load(root, random_shift=shift)
    pictures = torch.from_numpy(pixels_of(disk)).permute(0, 3, 1, 2)
    memory = Corpus(pictures, disk.names, name="x", spec="x", random_shift=shift)
    assert disk.fingerprint == memory.fingerprint
    options: dict[str, Any] = {"resolution": resolution, "seed": 3, "mirror": mirror}
    one, two = disk.batch(start, size, **options), memory.batch(start, size, **options)
    assert torch.equal(one, two)
    assert one.is_contiguous(memory_format=torch.channels_last)


def test_names_are_a_sequence_like_any_other(tmp_path: Path) -> None:
    names = sorted(["a.png", "b/ü.png", "c\udcff.png", "日本.png", "x.png"])
    root = tmp_path / "set"
    for number, name in enumerate(names):
        write(root / name, number)
    found = load(root).names
    assert found == names
    assert list(found) == names
    assert [found[place] for place in range(-5, 5)] == names + names
    assert found[1:4] == names[1:4]
    assert found[::-1] == names[::-1]
    assert found != names[:-1]
    assert found != "abcde"
    assert "日本.png" in found
    assert found.index("b/ü.png") == 1
    with pytest.raises(IndexError):
        found[5]


# ---------------------------------------------------------------- the second start


def test_a_second_start_decodes_nothing_and_lists_nothing(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 7)
    (root / "bad.png").write_bytes(b"no")
    (root / "none.png").touch()
    first = load(root, max_bad=0.5)
    unlisted = replace(source_of(str(root)), find=lambda: pytest.fail("of a million files this takes long"))
    again = load(unlisted, max_bad=0.5, bar=lambda *_: pytest.fail("there is nothing to do"))
    for what in ("names", "fingerprint", "distinct", "bad", "skipped", "resolution", "name", "spec"):
        assert getattr(again, what) == getattr(first, what), what
    assert [bad.name for bad in again.bad] == ["bad.png"]
    assert [bad.name for bad in again.skipped] == ["none.png"]
    assert np.array_equal(pixels_of(again), pixels_of(first))
    with pytest.raises(DataError, match=r"1 of 8 pictures are unusable(.|\n)*bad.png"):
        load(root)


def test_what_pixels_depend_on_is_told_apart(tmp_path: Path, cache: Path) -> None:
    set_ = Watched(folder_of(tmp_path / "set", 2))
    for options in (
        {},
        {"resolution": 8},
        {"random_shift": 2},
        {"resolution": 8, "random_shift": 8},
        {"background": "#000000"},
    ):
        set_.load(**options)
        assert len(set_.opened) == 2, options
        set_.load(**{"background": "white", **options})
        assert not set_.opened, options
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 5


def test_the_same_folder_by_another_name_is_the_same(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of(tmp_path / "set", 2)
    load(root)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(root)
    for name in ("set", "./set/", "link"):
        set_ = Watched(name)
        assert set_.load().spec == name
        assert not set_.opened
    only_folder(cache)


def test_a_selection_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    set_ = Watched(folder_of(tmp_path / "set", 6))
    for opened in (3 + 2 + 6, 0):
        whole = set_.source()
        assert load(whole.only(lambda entry: entry.name > "003")).names == ["003.png", "004.png", "005.png"]
        assert load(whole.only(lambda entry: entry.name < "002")).names == ["000.png", "001.png"]
        assert len(load(whole)) == 6
        assert len(set_.opened) == opened
        set_.opened.clear()


def test_entries_without_stamps_are_never_taken_from_the_cache(cache: Path) -> None:
    def entry(number: int) -> Entry:
        file = io.BytesIO()
        noise(number).save(file, "png")
        return Entry("a.png", lambda: io.BytesIO(file.getvalue()))

    one, two = load(Source.of([entry(1)])), load(Source.of([entry(2)]))
    assert not cache.exists()
    assert (pixels_of(one)[0, 0, 0, 0], pixels_of(two)[0, 0, 0, 0]) == (1, 2)


# ---------------------------------------------------------------- a corpus that changes


def test_only_what_is_new_or_has_changed_is_decoded(tmp_path: Path, cache: Path) -> None:
    root = folder_of(tmp_path / "set", 100)
    set_ = Watched(root)
    before = set_.load()
    kept = pixels_of(before)
    for name in ("003.png", "050.png", "099.png"):
        (root / name).unlink()
    write(root / "010.png", 210)
    write(root / "000a.png", 220)
    write(root / "zz.png", 230)
    assert set_.said() == [f"{root}: 2 new, 3 gone, 1 changed since its pictures were last decoded"]
    assert sorted(set_.opened) == ["000a.png", "010.png", "zz.png"]
    after = set_.load()
    assert not set_.opened
    assert list(after.names) == sorted(path.name for path in root.iterdir())
    assert np.array_equal(pixels_of(after), wanted_pixels(root, list(after.names)))
    assert np.array_equal(pixels_of(after, 4), halve(halve(pixels_of(after))))
    assert len(shards_of(cache)) == 1  # the old one is gone
    # What read the pyramid all the while still reads what it was.
    assert np.array_equal(pixels_of(before), kept)
    # And it is what a pyramid made anew would be.
    shutil.rmtree(cache)
    assert load(root).fingerprint == after.fingerprint


def test_a_picture_more_or_less_leaves_most_files_as_they_are(tmp_path: Path, cache: Path, small_shards: None) -> None:
    root = folder_of(tmp_path / "set", 200)
    load(root)
    before = shards_of(cache)
    assert len(before) > 12
    (root / "020.png").unlink()
    write(root / "100a.png", 201)
    corpus = load(root)
    after = shards_of(cache)
    assert len(before.items() & after.items()) > len(before) * 3 // 4
    assert np.array_equal(pixels_of(corpus), wanted_pixels(root, list(corpus.names)))


def test_touched_files_are_decoded_again_and_come_out_the_same(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 4)
    set_ = Watched(root)
    first = set_.load()
    os.utime(root / "002.png", ns=(1, 1))
    assert set_.said() == [f"{root}: 1 changed since its pictures were last decoded"]
    assert set_.opened == ["002.png"]
    assert set_.load().fingerprint == first.fingerprint


def test_bad_pictures_are_not_tried_again_until_they_change(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 3)
    (root / "bad.png").write_bytes(b"no")
    set_ = Watched(root)
    options: dict[str, Any] = {"max_bad": 0.9}
    set_.load(**options)
    write(root / "009.png", 9)
    assert [str(bad) for bad in set_.load(**options).bad] == ["bad.png: not a picture, or damaged at its start"]
    assert set_.opened == ["009.png"]
    write(root / "bad.png", 77)
    corpus = set_.load(**options)
    assert (corpus.bad, "bad.png" in corpus.names, set_.opened) == ([], True, ["bad.png"])
    (root / "000.png").write_bytes(b"no longer")
    assert [bad.name for bad in set_.load(**options).bad] == ["000.png"]
    (root / "000.png").unlink()
    assert set_.said() == [f"{root}: 1 gone since its pictures were last decoded"]


def test_a_picture_that_could_not_be_read_is_tried_at_every_start(tmp_path: Path, cache: Path) -> None:
    set_ = Watched(folder_of(tmp_path / "set", 3))

    def refused(name: str) -> None:
        if name == "001.png":
            raise PermissionError(errno.EACCES, "Permission denied")

    set_.instead = refused
    for number in range(2):
        assert [str(bad) for bad in set_.load(max_bad=0.9).bad] == ["001.png: Permission denied"]
        assert set_.opened == (["001.png"] if number else ["000.png", "001.png", "002.png"])
    before = shards_of(cache)
    set_.load(max_bad=0.9)
    assert shards_of(cache) == before  # nothing is copied for one that stays as it is
    set_.instead = lambda name: None
    assert set_.load().names == ["000.png", "001.png", "002.png"]
    assert set(set_.opened) == {"001.png"}


@pytest.mark.parametrize("budget", ["64", "0"])
def test_any_history_ends_in_the_same_corpus(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, small_shards: None, budget: str
) -> None:
    """Pictures come, go, change and break, builds are cut short; what is read is what a fresh build would have."""
    monkeypatch.setenv(BUDGET, budget)
    side = 144 if budget == "0" else 16
    random = np.random.default_rng(int(budget) + 7)
    root = folder_of(tmp_path / "set", 6)
    set_ = Watched(root)
    for turn in range(10):
        for number in random.integers(0, 40, random.integers(1, 9)).tolist():
            path = root / f"{number:03d}.png"
            match int(random.integers(0, 4)):
                case 0:
                    path.unlink(missing_ok=True)
                case 1:
                    path.write_bytes(b"no" * (turn + 1))
                case _:
                    write(path, int(random.integers(0, 256)))
        write(root / "always.png", turn)
        if random.random() < 0.5:
            set_.stopped(0, resolution=side, max_bad=1.0)
        corpus = set_.load(side, max_bad=1.0, workers=int(random.integers(0, 3)))
        names = [path.name for path in sorted(root.iterdir()) if not path.read_bytes().startswith(b"no")]
        assert corpus.names == names
        assert np.array_equal(pixels_of(corpus), wanted_pixels(root, names, side))
        assert np.array_equal(pixels_of(corpus, side // 2), halve(pixels_of(corpus)))
        set_.load(side, max_bad=1.0, say=pytest.fail)
    with monkeypatch.context() as patch:
        patch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "fresh"))
        assert load(root, side, max_bad=1.0).fingerprint == corpus.fingerprint


# ---------------------------------------------------------------- a build that is stopped

BUILD = """
    import sys, time
    from dataclasses import replace
    from animepggan.corpus.pyramid import Shape, open_pyramid, shard
    from animepggan.corpus.spec import source_of
    shard.LEAST, shard.MOST = 8, 1 << 20
    source, count = source_of(sys.argv[1]), 0
    def slow(entry):
        def opening():
            global count
            count += 1
            time.sleep(float(sys.argv[2]))
            return entry.open()
        return replace(entry, open=opening)
    watched = replace(source, find=lambda: map(slow, source.entries))
    pyramid = open_pyramid(watched, Shape(16), workers=2, say=lambda text: print(text, flush=True))
    print(count, pyramid.identity[0])
"""


def test_a_build_that_was_killed_goes_on(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_of(tmp_path / "set", 300)
    done = 0
    for wanted in (3, 12):
        child = in_another_process(BUILD, str(root), "0.004")
        limit = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < limit:
            done = len(shards_of(cache)) if cache.exists() and any(cache.glob("*/")) else 0
            if done >= wanted:
                child.send_signal(signal.SIGKILL)
                break
            time.sleep(0.005)
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert not (only_folder(cache) / "index.record").exists()
    out, errors = in_another_process(BUILD, str(root), "0").communicate(timeout=60)
    found = re.search(r"going on with a build that was stopped: (\d+) of 300 are done", out)
    assert found, out + errors
    count, fingerprint = out.splitlines()[-1].split()
    assert int(count) == 300 - int(found[1])
    assert int(found[1]) >= 12
    assert not list(only_folder(cache).glob("*.partial"))
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "fresh"))
    assert load(root).fingerprint == fingerprint


def test_a_stopped_build_goes_on_with_other_pictures(tmp_path: Path, small_shards: None) -> None:
    root = folder_of(tmp_path / "set", 100)
    set_ = Watched(root)
    set_.stopped(70)
    write(root / "005.png", 205)
    (root / "016.png").unlink()
    corpus = set_.load()
    assert len(set_.opened) < 60
    assert np.array_equal(pixels_of(corpus), wanted_pixels(root, list(corpus.names)))


def test_an_update_that_is_stopped_leaves_what_was_there(tmp_path: Path, cache: Path, small_shards: None) -> None:
    root = folder_of(tmp_path / "set", 70)
    set_ = Watched(root)
    before = set_.load()
    kept = pixels_of(before)
    index = (only_folder(cache) / "index.record").read_bytes()
    for number in range(70, 250):
        write(root / f"{number:03d}.png", number)
    set_.stopped(100)
    assert np.array_equal(pixels_of(before), kept)
    assert (only_folder(cache) / "index.record").read_bytes() == index
    assert np.array_equal(pixels_of(load(root)), wanted_pixels(root, [f"{number:03d}.png" for number in range(250)]))


# ---------------------------------------------------------------- several processes


def test_one_builds_while_others_wait_and_say_so(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 60)
    children = [in_another_process(BUILD, str(root), "0.05") for _ in range(3)]
    outputs = [child.communicate(timeout=100) for child in children]
    ended = [output.splitlines() for output, _ in outputs]
    assert all(child.returncode == 0 for child in children), outputs
    assert sorted(int(lines[-1].split()[0]) for lines in ended) == [0, 0, 60]
    assert len({lines[-1].split()[1] for lines in ended}) == 1
    assert sum("another process is decoding it" in line for lines in ended for line in lines) == 2


def test_a_lock_that_nobody_needs_is_not_waited_for(tmp_path: Path, cache: Path) -> None:
    root = folder_of(tmp_path / "set", 3)
    load(root)
    with FileLock(f"{only_folder(cache)}.lock"):
        load(root)  # would never end
        write(root / "new.png", 9)
        thread = threading.Thread(target=load, args=(root,), daemon=True)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("how", ["cut", "gone", "empty", "longer", "changed"])
def test_a_damaged_shard_is_made_anew(tmp_path: Path, cache: Path, small_shards: None, how: str) -> None:
    """But for damaged pixels: looking for them would take as long as reading all."""
    root = folder_of(tmp_path / "set", 40)
    set_ = Watched(root)
    set_.load()
    path = only_folder(cache) / max(shards_of(cache))
    data = path.read_bytes()
    path.unlink()
    if how != "gone":
        damages = {"cut": data[:-1], "empty": b"", "longer": data + b"\0", "changed": data[:-99] + b"?" + data[-98:]}
        path.write_bytes(damages[how])
    (line,) = set_.said()
    assert line == f"{root}: {len(set_.opened)} pictures are damaged in the cache; decoding them again"
    assert 0 < len(set_.opened) < 40
    mended = set_.load(say=pytest.fail)
    wanted = wanted_pixels(root, list(mended.names))
    for side in (16, 8, 4):
        assert np.array_equal(pixels_of(mended, side), wanted)
        wanted = halve(wanted)
    shutil.rmtree(cache)
    assert load(root).fingerprint == mended.fingerprint


def test_damaged_pixels_are_not_copied(tmp_path: Path, cache: Path) -> None:
    root = folder_of(tmp_path / "set", 10)
    set_ = Watched(root)
    set_.load()
    (path,) = only_folder(cache).glob("shard-*.pixels")
    with path.open("rb+") as file:
        file.seek(3 * 16 * 16 * 4 + 100)  # in the fifth picture
        file.write(bytes(9))
    write(root / "new.png", 50)
    corpus = set_.load()
    assert sorted(set_.opened) == ["004.png", "new.png"]
    assert np.array_equal(pixels_of(corpus), wanted_pixels(root, list(corpus.names)))


def test_a_damaged_or_foreign_index_is_written_anew(tmp_path: Path, cache: Path) -> None:
    root = folder_of(tmp_path / "set", 5)
    (root / "bad.png").write_bytes(b"no")
    set_ = Watched(root)
    fingerprint = set_.load(max_bad=0.5).fingerprint
    path = only_folder(cache) / "index.record"
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    damages = [
        b"",
        whole[:5],
        whole[:-1],
        whole + b"x",
        whole[: length // 2],
        b"\xff" * len(whole),
        whole[:8] + b"{" * length + whole[8 + length :],
        whole.replace(b'"U64"', b'"F99"'),
        whole.replace(b'"names"', b'"namez"'),
        *(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(8 + length, len(whole), 29)),
    ]
    for damage in damages:
        assert damage != whole
        path.write_bytes(damage)
        corpus = set_.load(max_bad=0.5)
        assert (corpus.fingerprint, set_.opened, len(corpus.bad)) == (fingerprint, [], 1)
        assert np.array_equal(pixels_of(corpus), wanted_pixels(root, list(corpus.names)))


# ---------------------------------------------------------------- the disk


def test_space_is_asked_for_before_anything_is_decoded(tmp_path: Path, disk_space: Callable[[float], None]) -> None:
    set_ = Watched(folder_of(tmp_path / "set", 10))
    disk_space(10 * 3 * 64 * 64)
    with pytest.raises(ResourceError) as caught:
        set_.load(64)
    assert not set_.opened
    message = str(caught.value)
    assert re.match(
        r"10 pictures at 64x64 pixels need 0\.00016 GB of disk, 0\.00012 GB are free in .*pyramids\n", message
    )
    assert "ANIMEPGGAN_CACHE" in message
    assert "any folder in there that no run reads may be deleted" in message
    assert caught.value.exit_code == 6
    assert len(message.splitlines()) <= 3


@pytest.mark.parametrize("workers", [0, 2])
def test_a_disk_that_fills_up_says_so_and_the_build_goes_on_later(
    tmp_path: Path, workers: int, full_disk: Callable[[int], None], small_shards: None
) -> None:
    set_ = Watched(folder_of(tmp_path / "set", 500))
    full_disk(75)
    told = r"no space left on the disk(.|\n)*ANIMEPGGAN_CACHE(.|\n)*goes on"
    with pytest.raises(ResourceError, match=told) as caught:
        set_.load(workers=workers)
    full_disk(10**6)
    assert caught.value.exit_code == 6
    assert len(str(caught.value).splitlines()) <= 3
    before = len(set_.opened)
    assert before < 400  # no more was begun
    (line,) = set_.said()
    assert "going on with a build that was stopped" in line
    assert 500 - before <= len(set_.opened) < 480


@pytest.mark.parametrize("place", ["file/cache", "/proc/animepggan"])
def test_a_cache_that_cannot_be_written_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / place))
    with pytest.raises(ResourceError, match=r"cannot be written(.|\n)*set ANIMEPGGAN_CACHE") as caught:
        load(folder_of(tmp_path / "set", 2))
    assert caught.value.exit_code == 6


def test_a_cache_that_is_only_read_is_read(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_of(tmp_path / "set", 3)
    first = load(root)
    shutil.copytree(cache.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("*.lock"))
    folder = tmp_path / "copy" / "pyramids"
    for path in (folder, *folder.iterdir()):
        path.chmod(0o555)
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "copy"))
    assert load(root).fingerprint == first.fingerprint
    assert not list(folder.glob("*.lock"))
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)


@pytest.mark.parametrize("value", ["much", "-1", "nan", "1e30"])
def test_a_budget_is_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(BUDGET, value)
    with pytest.raises(RecipeError, match=f"{BUDGET}={value}"):
        load(folder_of(tmp_path / "set", 1))


def test_an_empty_corpus_leaves_nothing_in_the_cache(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        load(tmp_path / "set")
    assert not cache.exists()


# ---------------------------------------------------------------- levels stored as WebP


@pytest.fixture
def encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus whose levels above 128 px are encoded."""
    monkeypatch.setenv(BUDGET, "0")
    return folder_of(tmp_path / "set", 20, side=256)


def arrays_in(cache: Path) -> set[int]:
    """The sides that are stored as arrays."""
    (path,) = only_folder(cache).glob("shard-*")
    found = shard.Shard(path)
    return {side for side in (4, 8, 16, 32, 64, 128, 192, 256, 512) if not found.is_encoded(side)}


def test_levels_beyond_the_budget_are_encoded_without_loss(
    tmp_path: Path, cache: Path, encoded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = load(encoded, 256)
    assert arrays_in(cache) == {128, 64, 32, 16, 8, 4}
    assert np.array_equal(pixels_of(corpus), wanted_pixels(encoded, list(corpus.names), 256))
    batch = corpus.batch(7, 9, resolution=256, seed=0, mirror=True)
    shutil.rmtree(cache)  # what is read stays readable
    assert torch.equal(corpus.batch(7, 9, resolution=256, seed=0, mirror=True), batch)
    assert np.array_equal(pixels_of(corpus, 64), halve(halve(pixels_of(corpus))))
    monkeypatch.setenv(BUDGET, "1")
    arrays = load(encoded, 256)
    assert 256 in arrays_in(cache)
    assert arrays.fingerprint == corpus.fingerprint
    assert torch.equal(arrays.batch(7, 9, resolution=256, seed=0, mirror=True), batch)


def test_the_budget_counts_all_arrays_and_lower_levels_first(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, disk_space: Callable[[float], None]
) -> None:
    root = folder_of(tmp_path / "set", 2)
    upto = {side: sum(3 * 4**power * 2 for power in range(2, side.bit_length())) for side in (256, 512)}
    low = {4, 8, 16, 32, 64, 128}
    plenty = shutil.disk_usage(tmp_path).free
    for budget, free, wanted in (
        (upto[512], plenty, low | {256, 512}),
        (upto[512] - 1, plenty, low | {256}),
        (upto[256] - 1, plenty, low),
        (0, plenty, low),
        (upto[512], upto[512] * 21 // 20, low | {256}),  # too near to all that there is
    ):
        monkeypatch.setenv(BUDGET, f"{(budget + 0.5) / 1e9:.15f}")
        disk_space(free)
        load(root, 512)
        assert arrays_in(cache) == wanted
        shutil.rmtree(cache)


def test_a_set_that_outgrows_the_budget_is_encoded_from_there_on(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BUDGET, "0.0011")  # four pictures of 256 px, and not five
    root = folder_of(tmp_path / "set", 2, side=256)
    for count, fits in ((2, True), (4, True), (9, False)):
        folder_of(root, count, side=256)
        corpus = load(root, 256)
        assert (256 in arrays_in(cache)) == fits
        assert np.array_equal(pixels_of(corpus), wanted_pixels(root, list(corpus.names), 256))


def test_many_shards_of_encoded_pictures(encoded: Path, small_shards: None) -> None:
    set_ = Watched(encoded)
    corpus = set_.load(256)
    assert np.array_equal(pixels_of(corpus), wanted_pixels(encoded, list(corpus.names), 256))
    (encoded / "003.png").unlink()
    write(encoded / "017.png", 99, 256)
    changed = set_.load(256)
    assert set_.opened == ["017.png"]
    assert np.array_equal(pixels_of(changed), wanted_pixels(encoded, list(changed.names), 256))


def test_encoded_pictures_are_decoded_ahead(encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = load(encoded, 256)
    started: list[Any] = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda *args, **options: started.append(args) or real(*args, **options))
    first = corpus.batch(0, 5, resolution=256, seed=0, mirror=False)
    limit = time.monotonic() + 20
    while len(started) < 10 and time.monotonic() < limit:
        time.sleep(0.01)
    assert len(started) == 10
    second = corpus.batch(5, 5, resolution=256, seed=0, mirror=False)
    elsewhere = corpus.batch(15, 5, resolution=256, seed=0, mirror=False)  # what was begun is dropped
    fresh = load(encoded, 256)
    for at, batch in ((0, first), (5, second), (15, elsewhere)):
        assert torch.equal(fresh.batch(at, 5, resolution=256, seed=0, mirror=False), batch)


def test_encoded_pictures_are_cut_at_random_too(cache: Path, encoded: Path) -> None:
    corpus = load(encoded, 128, random_shift=64)
    assert arrays_in(cache) == set()
    pictures = torch.from_numpy(pixels_of(corpus)).permute(0, 3, 1, 2)
    memory = Corpus(pictures, corpus.names, name="x", spec="x", random_shift=64)
    for at in (0, 13, 13):
        options: dict[str, Any] = {"resolution": 64, "seed": 1, "mirror": True}
        assert torch.equal(corpus.batch(at, 9, **options), memory.batch(at, 9, **options))


def test_a_damaged_encoded_picture_is_named_and_mended_at_the_next_start(cache: Path, encoded: Path) -> None:
    set_ = Watched(encoded)
    corpus = set_.load(256)
    fingerprint = corpus.fingerprint
    (path,) = only_folder(cache).glob("shard-*.pixels")
    with path.open("rb+") as file:
        file.seek(path.read_bytes().index(b"RIFF"))
        file.write(bytes(40))
    with pytest.raises(DataError, match=r"damaged(.|\n)*run the same command again"):
        pixels_of(corpus)
    mended = set_.load(256)
    assert len(set_.opened) == 20
    assert (mended.fingerprint, len(pixels_of(mended))) == (fingerprint, 20)
    assert np.array_equal(pixels_of(mended), wanted_pixels(encoded, list(mended.names), 256))


# ---------------------------------------------------------------- clusters


def described(root: Path, rows: list[tuple[str, int | None, float]], **more: Any) -> Path:
    path = root.parent / "curated" / "corpus.jsonl"
    description.write_description(
        path,
        (description.Row(name, cluster=cluster, weight=weight, **more) for name, cluster, weight in rows),
        base=str(root),
    )
    return path


def reds(batch: torch.Tensor) -> list[int]:
    return [round((float(picture[0, 0, 0]) + 1) * 127.5) for picture in batch]


def test_a_cluster_counts_as_one_picture(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 10)
    labels = [1, 1, 1, None, 7, 7, None, None, 1, 3]
    path = described(root, [(f"{number:03d}.png", label, 1.0) for number, label in enumerate(labels)])
    corpus = load(path)
    assert (len(corpus), corpus.distinct, len(corpus.names)) == (6, 6, 10)
    corpus.require(6)
    with pytest.raises(DataError, match=r"10 pictures in 6 clusters, fewer than a batch of 7(.|\n)*batch_size=6"):
        corpus.require(7)
    cluster_of = {number: (label, number if label is None else 0) for number, label in enumerate(labels)}
    shown: Counter[int] = Counter()
    for epoch in range(200):
        batch = reds(corpus.batch(6 * epoch, 6, resolution=16, seed=2, mirror=False))
        assert {cluster_of[red] for red in batch} == set(cluster_of.values())
        shown.update(batch)
    assert all(shown[number] == 200 for number in (3, 6, 7, 9))
    assert all(25 < shown[number] < 75 for number in (0, 1, 2, 8))
    assert all(75 < shown[number] < 125 for number in (4, 5))
    apart = [corpus.batch(seen, 1, resolution=16, seed=2, mirror=False) for seen in range(40)]
    assert torch.equal(torch.cat(apart), corpus.batch(0, 40, resolution=16, seed=2, mirror=False))
    assert not torch.equal(torch.cat(apart), corpus.batch(0, 40, resolution=16, seed=3, mirror=False))


def test_members_are_drawn_by_weight(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 5)
    path = described(
        root, [("000.png", 1, 3e299), ("001.png", 1, 9e299), ("002.png", 2, 1.0), ("003.png", None, 0.001)]
    )
    corpus = load(path)
    assert len(corpus) == 3
    shown = Counter(reds(corpus.batch(0, 3 * 400, resolution=16, seed=0, mirror=False)))
    assert shown[2] == shown[3] == 400
    assert 250 < shown[1] < 350
    assert shown[0] + shown[1] == 400


def test_an_edited_description_needs_no_decoding(tmp_path: Path, cache: Path) -> None:
    root = folder_of(tmp_path / "set", 6)
    rows: list[tuple[str, int | None, float]] = [(f"{number:03d}.png", 1 + number // 2, 1.0) for number in range(6)]
    set_ = Watched(described(root, rows))
    corpora = [set_.load()]
    files = shards_of(cache)
    for place, row in ((3, ("003.png", 9, 1.0)), (0, ("000.png", 1, 5.0))):
        rows[place] = row
        described(root, rows)
        corpora.append(set_.load())
        assert not set_.opened
    assert shards_of(cache) == files
    assert [len(corpus) for corpus in corpora] == [3, 4, 4]
    assert len({corpus.fingerprint for corpus in corpora}) == 3
    described(root, rows[1:])
    assert len(set_.load()) == 4
    assert not set_.opened


def test_clusters_of_one_are_no_clusters(tmp_path: Path) -> None:
    """Their numbers and weights change nothing that a run sees, nor what it is known by."""
    root = folder_of(tmp_path / "set", 4)
    plain = load(root)
    path = described(root, [(f"{number:03d}.png", 100 - number, 2.0 + number) for number in range(4)])
    corpus = load(path)
    assert corpus.fingerprint == plain.fingerprint
    assert torch.equal(*(each.batch(1, 9, resolution=16, seed=0, mirror=True) for each in (plain, corpus)))


@given(st.lists(st.tuples(st.sampled_from([None, 1, 2, 3]), st.floats(0.1, 10)), min_size=1, max_size=20), st.data())
def test_a_drawn_member_is_of_its_cluster(pictures: list[tuple[int | None, float]], data: st.DataObject) -> None:
    labels, weights = [label for label, _ in pictures], [weight for _, weight in pictures]
    clusters = ClusterTable.of(labels, weights)
    groups: dict[Any, list[int]] = {}
    for place, label in enumerate(labels):
        groups.setdefault(("own", place) if label is None else label, []).append(place)
    if clusters is None:
        assert len(groups) == len(labels)
        return
    assert len(clusters) == len(groups)
    for number, group in enumerate(groups.values()):
        draw = data.draw(st.floats(0, 1, exclude_max=True, width=32))
        picked = clusters.pick(np.array([number], np.uint32), np.array([draw], np.float32))[0]
        assert picked in group
        before = sum(weights[member] for member in group[: group.index(picked)]) / sum(weights[m] for m in group)
        after = before + weights[picked] / sum(weights[member] for member in group)
        assert before - 1e-6 <= draw <= after + 1e-6
    assert [groups[key][0] for key in groups] == clusters.members[clusters.starts[:-1]].tolist()


def test_draws_at_the_edges() -> None:
    clusters = ClusterTable.of([1, 2, 1, 2, 2], [1.0, 1e308, 1.0, 1e308, 1e308])
    assert clusters is not None
    draws = {0.0: (0, 1), 0.25: (0, 1), 0.5: (2, 3), 0.75: (2, 4), np.nextafter(np.float32(1), np.float32(0)): (2, 4)}
    for draw, members in draws.items():
        picked = clusters.pick(np.array([0, 1], np.uint32), np.array([draw, draw], np.float32))
        assert tuple(picked.tolist()) == members, draw


# ---------------------------------------------------------------- a large one


def test_what_is_known_of_a_picture_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred thousand pictures in 15 MB, as a million have to be in 150."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    import measure_pyramid

    listing = tmp_path / "large.tar"
    listing.write_bytes(bytes(10240))
    measure_pyramid.make_index(source_of(str(listing)), 100_000, clusters=True)
    code = """
        import os, sys, time
        from animepggan.corpus import Corpus
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        options = {"resolution": 4, "seed": 0, "mirror": True}
        Corpus.load(sys.argv[2], resolution=4).batch(0, 1, **options)
        before, start = resident(), time.perf_counter()
        corpus = Corpus.load(sys.argv[1], resolution=4)
        for epoch in range(3):
            for place in range(0, len(corpus), 1000):
                corpus.batch(epoch * len(corpus) + place, 16, **options)
            if epoch == 0:
                opened = time.perf_counter() - start
        print(len(corpus.names), len(corpus), opened, resident() - before)
    """
    small = folder_of(tmp_path / "small", 1)
    out, errors = in_another_process(code, str(listing), str(small)).communicate(timeout=100)
    assert out, errors
    pictures, clusters, seconds, memory = map(float, out.split())
    assert (pictures, clusters) == (100_000, 33_334)
    assert seconds < 5
    assert memory < 15


def test_opening_needs_no_torch() -> None:
    code = "import sys, animepggan.corpus.pyramid; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_pyramid_alone_can_be_read(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 4)
    pyramid = open_pyramid(source_of(str(root)), Shape(16))
    assert isinstance(pyramid, Pyramid)
    assert (len(pyramid), pyramid.sides, pyramid.bad) == (4, [16, 8, 4], [])
    assert np.array_equal(pyramid.take(np.array([2, 0]), 16), wanted_pixels(root, ["002.png", "000.png"]))
