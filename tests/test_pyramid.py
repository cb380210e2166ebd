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
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from animepggan.corpus import Corpus, description, spec
from animepggan.corpus.decode import decode
from animepggan.corpus.pyramid import Clusters, Names, Pyramid, build, disk, halve, index, journal, levels, shelf
from animepggan.corpus.spec import Entry, Source
from animepggan.errors import DataError, RecipeError, ResourceError
from animepggan.streams import stream


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(shelf.BUDGET, raising=False)
    return tmp_path / "cache" / "pyramids"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is decoded, by the red of its first pixel."""
    seen: list[str] = []

    def counted(stream: Any, **options: Any) -> NDArray[np.uint8]:
        picture = decode(stream, **options)
        seen.append(f"{picture[0, 0, 0]:03d}")
        return picture

    monkeypatch.setattr(build, "decode", counted)
    return seen


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


def said(data: Path, **options: Any) -> list[str]:
    lines: list[str] = []
    load(data, say=lines.append, **options)
    return lines


def only_folder(cache: Path) -> Path:
    (found,) = (path for path in cache.iterdir() if path.is_dir())
    return found


def doubt(cache: Path) -> None:
    """Have all sums checked at the next start."""
    (only_folder(cache) / levels.DAMAGED).touch()


def pixels_of(corpus: Corpus, resolution: int | None = None) -> NDArray[np.uint8]:
    return corpus.pictures(range(len(corpus.names)), resolution=resolution)


def wanted_pixels(root: Path, names: list[str], side: int = 16) -> NDArray[np.uint8]:
    return np.stack([decode((root / name).open("rb"), resolution=side, background=(255, 255, 255)) for name in names])


def in_another_process(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


# ---------------------------------------------------------------- what is in it


def test_levels_are_arrays_that_anybody_can_load(tmp_path: Path, cache: Path) -> None:
    corpus = load(folder_of(tmp_path / "set", 70))
    folder = only_folder(cache)
    assert re.fullmatch(r"set-16px-[0-9a-f]{16}", folder.name)
    names = {"index.safetensors", "level-0016.1.npy", "level-0008.1.npy", "level-0004.1.npy"}
    assert {path.name for path in folder.iterdir()} == names
    level = wanted_pixels(tmp_path / "set", list(corpus.names))
    for side in (16, 8, 4):
        stored = np.load(folder / f"level-{side:04d}.1.npy", mmap_mode="r")
        assert (stored.shape, stored.dtype) == ((70, side, side, 3), np.uint8)
        assert np.array_equal(pixels_of(corpus, side), level)
        assert sorted(map(bytes, stored)) == sorted(map(bytes, level))
        level = halve(level)


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


def test_names_are_a_sequence_like_any_other() -> None:
    names = ["a", "b/ü.png", "c\udcff", "", "日本"]
    packed = Names(*Names.packed(names))
    assert packed == names
    assert list(packed) == names
    assert [packed[place] for place in range(-5, 5)] == names + names
    assert packed[1:4] == names[1:4]
    assert packed[::-1] == names[::-1]
    assert packed != names[:-1]
    assert packed != "abcde"
    assert "日本" in packed
    assert packed.index("b/ü.png") == 1
    with pytest.raises(IndexError):
        packed[5]
    many = [f"{number:x}" for number in range(40_000)]
    assert list(Names(*Names.packed(many))) == many
    assert list(Names(*Names.packed([]))) == []


# ---------------------------------------------------------------- the second start


def test_a_second_start_decodes_nothing_and_lists_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_of(tmp_path / "set", 7)
    (root / "bad.png").write_bytes(b"no")
    (root / "none.png").touch()
    first = load(root, max_bad=0.5)
    monkeypatch.setattr(build, "decode", None)
    monkeypatch.setattr(Source, "entries", None)
    again = load(root, max_bad=0.5, progress=lambda done, total: pytest.fail("there is nothing to do"))
    for what in ("names", "fingerprint", "distinct", "bad", "skipped", "resolution", "name", "spec"):
        assert getattr(again, what) == getattr(first, what), what
    assert [bad.name for bad in again.bad] == ["bad.png"]
    assert [bad.name for bad in again.skipped] == ["none.png"]
    assert np.array_equal(pixels_of(again), pixels_of(first))
    with pytest.raises(DataError, match=r"1 of 8 pictures are unusable(.|\n)*bad.png"):
        load(root)


def test_what_pixels_depend_on_is_told_apart(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    root = folder_of(tmp_path / "set", 2)
    for options in (
        {},
        {"resolution": 8},
        {"random_shift": 2},
        {"resolution": 8, "random_shift": 8},
        {"background": "#000000"},
    ):
        before = len(decoded)
        load(root, **options)
        assert len(decoded) == before + 2, options
        load(root, **{"background": "white", **options})
        assert len(decoded) == before + 2, options
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 5


def test_one_pyramid_serves_lower_resolutions(
    tmp_path: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When asked to: its means are other pixels than sources resized, whatever else may be in the cache."""
    root = folder_of(tmp_path / "set", 5, side=40)
    large = load(root, 32)
    small = load(root, 8, top=32)
    assert len(decoded) == 5
    assert (small.resolution, small.distinct) == (8, 5)
    assert np.array_equal(pixels_of(small), pixels_of(large, 8))
    batches = [corpus.batch(3, 7, resolution=4, seed=1, mirror=True) for corpus in (large, small)]
    assert torch.equal(*batches)
    direct = load(root, 8)
    assert len({large.fingerprint, small.fingerprint, direct.fingerprint}) == 3
    pictures = torch.from_numpy(pixels_of(small)).permute(0, 3, 1, 2)
    assert small.fingerprint == Corpus(pictures, small.names, name="x", spec="x").fingerprint
    monkeypatch.setattr(shelf, "identify", None)  # worked out once
    assert load(root, 8, top=32).fingerprint == small.fingerprint
    monkeypatch.undo()
    for options in ({"top": 16}, {"top": 48}, {"top": 64, "random_shift": 2}):
        with pytest.raises(ValueError, match="cannot serve"):
            load(root, 32, **options)


def test_the_same_folder_by_another_name_is_the_same(
    tmp_path: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of(tmp_path / "set", 2)
    load(root)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(root)
    for name in ("set", "./set/", "link"):
        assert load(name).spec == name
    assert len(decoded) == 2


def test_a_selection_is_known_by_what_is_in_it(tmp_path: Path, decoded: list[str]) -> None:
    root = folder_of(tmp_path / "set", 6)
    whole = spec.resolve(str(root))
    for _ in range(2):
        assert load(whole.only(lambda entry: entry.name > "003")).names == ["003.png", "004.png", "005.png"]
        assert load(whole.only(lambda entry: entry.name < "002")).names == ["000.png", "001.png"]
        assert len(load(root)) == 6
    assert len(decoded) == 3 + 2 + 6


def test_entries_without_stamps_are_never_taken_from_the_cache(cache: Path) -> None:
    def entry(number: int) -> Entry:
        file = io.BytesIO()
        noise(number).save(file, "png")
        return Entry("a.png", lambda: io.BytesIO(file.getvalue()))

    one, two = load(Source.of([entry(1)])), load(Source.of([entry(2)]))
    assert not cache.exists()
    assert (pixels_of(one)[0, 0, 0, 0], pixels_of(two)[0, 0, 0, 0]) == (1, 2)


# ---------------------------------------------------------------- a corpus that changes


def test_only_what_is_new_or_has_changed_is_decoded(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    root = folder_of(tmp_path / "set", 100)
    before = load(root)
    kept = pixels_of(before)
    decoded.clear()
    for name in ("003.png", "050.png", "099.png"):
        (root / name).unlink()
    write(root / "010.png", 210)
    write(root / "000a.png", 220)
    write(root / "zz.png", 230)
    lines = said(root)
    assert lines == [f"{root}: 2 new, 3 gone, 1 changed since its pictures were last decoded"]
    assert sorted(decoded) == ["210", "220", "230"]
    after = load(root)
    assert list(after.names) == sorted(path.name for path in root.iterdir())
    assert np.array_equal(pixels_of(after), wanted_pixels(root, list(after.names)))
    assert np.array_equal(pixels_of(after, 4), halve(halve(pixels_of(after))))
    assert len(decoded) == 3
    # What read the pyramid all the while still reads what it was.
    assert np.array_equal(pixels_of(before), kept)
    # And it is what a pyramid made anew would be.
    shutil.rmtree(cache)
    assert load(root).fingerprint == after.fingerprint


def test_touched_files_are_decoded_again_and_come_out_the_same(tmp_path: Path, decoded: list[str]) -> None:
    root = folder_of(tmp_path / "set", 4)
    first = load(root)
    os.utime(root / "002.png", ns=(1, 1))
    assert said(root) == [f"{root}: 1 changed since its pictures were last decoded"]
    assert decoded[4:] == ["002"]
    assert load(root).fingerprint == first.fingerprint


def test_bad_pictures_are_not_tried_again_until_they_change(tmp_path: Path, decoded: list[str]) -> None:
    root = folder_of(tmp_path / "set", 3)
    (root / "bad.png").write_bytes(b"no")
    opened: list[str] = []
    options: dict[str, Any] = {"max_bad": 0.9}
    load(root, **options)
    write(root / "009.png", 9)
    real = spec._read_file
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spec, "_read_file", lambda root, name: opened.append(name) or real(root, name))
        assert len(load(root, **options).bad) == 1
    assert opened == ["009.png"]
    write(root / "bad.png", 77)
    corpus = load(root, **options)
    assert (corpus.bad, "bad.png" in corpus.names, decoded[-1]) == ([], True, "077")
    (root / "000.png").write_bytes(b"no longer")
    assert [bad.name for bad in load(root, **options).bad] == ["000.png"]
    (root / "000.png").unlink()
    assert said(root) == [f"{root}: 1 gone since its pictures were last decoded"]


def test_a_picture_that_could_not_be_read_is_tried_at_every_start(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 3)
    real = spec._read_file

    def refused(root: str, name: str) -> Any:
        if name == "001.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(root, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spec, "_read_file", refused)
        for _ in range(2):
            assert [str(bad) for bad in load(root, max_bad=0.9).bad] == ["001.png: Permission denied"]
    assert load(root).names == ["000.png", "001.png", "002.png"]


def test_rows_of_no_use_are_left_behind_without_decoding(
    tmp_path: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "_WASTE", 0)
    root = folder_of(tmp_path / "set", 150)
    before = load(root)
    kept = pixels_of(before)
    for number in range(100):
        (root / f"{number:03d}.png").unlink()
    write(root / "new.png", 200)
    decoded.clear()
    after = load(root)
    assert decoded == ["200"]
    folder = only_folder(cache)
    assert {path.name for path in folder.glob("level-*")} == {f"level-{side:04d}.2.npy" for side in (16, 8, 4)}
    assert len(np.load(folder / "level-0016.2.npy", mmap_mode="r")) == 51
    assert np.array_equal(pixels_of(after), wanted_pixels(root, list(after.names)))
    assert np.array_equal(pixels_of(after, 4), halve(halve(pixels_of(after))))
    assert np.array_equal(pixels_of(before), kept)
    shutil.rmtree(cache)
    assert load(root).fingerprint == after.fingerprint


@pytest.mark.parametrize("budget", ["64", "0"])
def test_any_history_ends_in_the_same_corpus(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, budget: str
) -> None:
    """Pictures come, go, change and break, builds are cut short; what is read is what a fresh build would have."""
    monkeypatch.setenv(shelf.BUDGET, budget)
    monkeypatch.setattr(build, "_WASTE", 4)
    monkeypatch.setattr(disk, "LARGEST_ARRAYS_ONLY", 4)
    monkeypatch.setattr(build, "rows_of_chunk", lambda side: 4)
    random = np.random.default_rng(int(budget) + 7)
    root = tmp_path / "set"
    folder_of(root, 6)
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
            left = int(random.integers(0, 12))

            def failing(stream: Any, left: list[int] = [left], **options: Any) -> NDArray[np.uint8]:  # noqa: B006
                left[0] -= 1
                if left[0] < 0:
                    raise MemoryError
                return decode(stream, **options)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(build, "decode", failing)
                try:
                    load(root, max_bad=1.0, workers=int(random.integers(0, 3)))
                except MemoryError:
                    continue
        corpus = load(root, max_bad=1.0, workers=int(random.integers(0, 3)))
        names = [path.name for path in sorted(root.iterdir()) if not path.read_bytes().startswith(b"no")]
        assert corpus.names == names
        assert np.array_equal(pixels_of(corpus), wanted_pixels(root, names))
        assert np.array_equal(pixels_of(corpus, 8), halve(pixels_of(corpus)))
        assert not (only_folder(cache) / journal.FILE).exists()
        doubt(cache)
        load(root, max_bad=1.0, say=pytest.fail)


# ---------------------------------------------------------------- a build that is stopped

BUILD = """
    import sys, time
    from animepggan.corpus.pyramid import build, open_pyramid, shelf
    from animepggan.corpus.spec import resolve
    real, count = build.decode, 0
    def slow(stream, **options):
        global count
        count += 1
        time.sleep(float(sys.argv[2]))
        return real(stream, **options)
    build.decode = slow
    builds, real_build = [], build.build
    shelf.build = lambda *arguments, **options: builds.append(real_build(*arguments, **options))
    build.rows_of_chunk = lambda side: 4
    source = resolve(sys.argv[1])
    pyramid = open_pyramid(source, side=16, workers=2, say=lambda text: print(text, flush=True))
    print(count, pyramid.identity(16)[0], len(builds))
"""


def test_a_build_that_was_killed_goes_on(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_of(tmp_path / "set", 120)
    kills = 0
    for done in (6, 70):
        child = in_another_process(BUILD, str(root), "0.004")
        limit = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < limit:
            found = journal.read(only_folder(cache)) if cache.exists() and any(cache.glob("*/journal.jsonl")) else None
            if found is not None and sum(len(chunk.good) for chunk in found.chunks) >= done:
                child.send_signal(signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        child.communicate()
    assert kills == 2
    with pytest.raises(OSError, match="index"):
        index.Index(only_folder(cache) / index.FILE)
    out, errors = in_another_process(BUILD, str(root), "0").communicate(timeout=60)
    assert re.search(r"going on with a build that was stopped: \d+ of 120 are done", out), out + errors
    count, fingerprint, _ = out.splitlines()[-1].split()
    assert int(count) <= 120 - 70
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "fresh"))
    assert load(root).fingerprint == fingerprint


def stopped_build(root: Path, after: int, **options: Any) -> None:
    """A build that ends after so many pictures, as if it were killed."""

    def failing(stream: Any, left: list[int] = [after], **options: Any) -> NDArray[np.uint8]:  # noqa: B006
        left[0] -= 1
        if left[0] < 0:
            raise MemoryError
        return decode(stream, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "decode", failing)
        with pytest.raises(MemoryError):
            load(root, workers=0, **options)


def test_what_a_stopped_build_has_done_is_believed_when_its_pixels_are_there(
    tmp_path: Path, cache: Path, decoded: list[str]
) -> None:
    """After a power cut the journal may be on the disk and the pixels not."""
    root = folder_of(tmp_path / "set", 200)
    stopped_build(root, 130)
    level = only_folder(cache) / "level-0008.1.npy"
    with level.open("rb+") as file:
        file.seek(128 + 3 * 64 * 70)
        file.write(b"\0" * 50)
    with (only_folder(cache) / journal.FILE).open("a") as file:
        file.write('{"number": 3, "good": [["1')
    assert said(root, workers=0) == [f"{root}: going on with a build that was stopped: 64 of 200 are done"]
    assert len(decoded) == 136
    corpus = load(root)
    assert np.array_equal(pixels_of(corpus, 8), halve(wanted_pixels(root, list(corpus.names))))


def test_a_stopped_build_goes_on_with_other_pictures(tmp_path: Path, decoded: list[str]) -> None:
    root = folder_of(tmp_path / "set", 100)
    stopped_build(root, 70)
    write(root / "005.png", 205)
    (root / "006.png").unlink()
    corpus = load(root)
    assert len(decoded) == 36 + 1
    assert np.array_equal(pixels_of(corpus), wanted_pixels(root, list(corpus.names)))


def test_an_update_that_is_stopped_leaves_what_was_there(tmp_path: Path, cache: Path) -> None:
    root = folder_of(tmp_path / "set", 70)
    before = load(root)
    kept = pixels_of(before)
    for number in range(70, 250):
        write(root / f"{number:03d}.png", number)
    stopped_build(root, 100)
    assert np.array_equal(pixels_of(before), kept)
    assert shelf._index(only_folder(cache)).names == before.names
    assert np.array_equal(pixels_of(load(root)), wanted_pixels(root, [f"{number:03d}.png" for number in range(250)]))


# ---------------------------------------------------------------- several processes


def test_one_builds_while_others_wait_and_say_so(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 60)
    children = [in_another_process(BUILD, str(root), "0.02") for _ in range(3)]
    outputs = [child.communicate(timeout=100) for child in children]
    ended = [output.splitlines() for output, _ in outputs]
    assert all(child.returncode == 0 for child in children), outputs
    counts = Counter((int(lines[-1].split()[0]), int(lines[-1].split()[2])) for lines in ended)
    assert counts == {(60, 1): 1, (0, 0): 2}
    assert len({lines[-1].split()[1] for lines in ended}) == 1
    assert sum("another process is decoding it" in line for lines in ended for line in lines) == 2


def test_a_lock_that_nobody_needs_is_not_waited_for(tmp_path: Path, cache: Path) -> None:
    root = folder_of(tmp_path / "set", 3)
    load(root)
    with FileLock(f"{only_folder(cache)}.lock"):
        load(root)  # would never end
        thread = threading.Thread(target=said, args=(write(root / "new.png", 9) or root,), daemon=True)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(10)
    assert not thread.is_alive()


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("name", ["level-0016.1.npy", "level-0004.1.npy"])
@pytest.mark.parametrize("how", ["cut", "gone"])
def test_a_level_that_is_short_or_gone_is_mended(
    tmp_path: Path, cache: Path, decoded: list[str], name: str, how: str
) -> None:
    root = folder_of(tmp_path / "set", 200)
    first = load(root)
    wanted, fingerprint = pixels_of(first), first.fingerprint
    del first
    decoded.clear()
    path = only_folder(cache) / name
    if how == "cut":
        os.truncate(path, 128 + (path.stat().st_size - 128) * 100 // 200)
    else:
        path.unlink()
    (line,) = said(root)
    damaged = 136 if how == "cut" else 200
    assert line == f"{root}: {damaged} pictures are damaged in the cache; decoding them again"
    assert len(decoded) == damaged
    mended = load(root)
    assert mended.fingerprint == fingerprint
    for side in (16, 8, 4):
        assert np.array_equal(pixels_of(mended, side), wanted)
        wanted = halve(wanted)


def test_a_changed_byte_is_found_when_sums_are_checked(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    root = folder_of(tmp_path / "set", 200)
    wanted = pixels_of(load(root))
    decoded.clear()
    with (only_folder(cache) / "level-0004.1.npy").open("rb+") as file:
        file.seek(128 + 48 * 70)
        file.write(b"\x01\x02\x03\x04")
    assert said(root) == []
    assert not np.array_equal(pixels_of(load(root), 4), halve(halve(wanted)))
    doubt(cache)
    assert said(root) == [f"{root}: 64 pictures are damaged in the cache; decoding them again"]
    assert len(decoded) == 64
    assert np.array_equal(pixels_of(load(root), 4), halve(halve(wanted)))
    doubt(cache)
    assert said(root) == []
    assert not (only_folder(cache) / levels.DAMAGED).exists()
    assert len(decoded) == 64


def test_a_damaged_or_foreign_index_is_built_anew(tmp_path: Path, cache: Path, decoded: list[str]) -> None:
    root = folder_of(tmp_path / "set", 5)
    fingerprint = load(root).fingerprint
    path = only_folder(cache) / index.FILE
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
        whole.replace(b'\\"format\\": 1', b'\\"format\\": 2'),
        whole.replace(b'"U32"', b'"F99"'),
        whole.replace(b'"rows"', b'"rowz"'),
        whole.replace(b'\\"rows\\": 5', b'\\"rows\\": 4'),
    ]
    for damage in damages:
        assert damage != whole
        path.write_bytes(damage)
        decoded.clear()
        corpus = load(root)
        assert (corpus.fingerprint, len(decoded)) == (fingerprint, 5)
        assert np.array_equal(pixels_of(corpus), wanted_pixels(root, list(corpus.names)))


def test_a_changed_byte_of_the_index_is_found_when_sums_are_checked(
    tmp_path: Path, cache: Path, decoded: list[str]
) -> None:
    root = folder_of(tmp_path / "set", 5)
    load(root)
    path = only_folder(cache) / index.FILE
    whole = path.read_bytes()
    rows = index.Index(path)._places["rows"][2]
    path.write_bytes(whole[:rows] + whole[rows + 4 : rows + 8] + whole[rows : rows + 4] + whole[rows + 8 :])
    wanted = wanted_pixels(root, [f"{number:03d}.png" for number in range(5)])
    assert not np.array_equal(pixels_of(load(root)), wanted)
    doubt(cache)
    assert np.array_equal(pixels_of(load(root)), wanted)
    assert len(decoded) == 10


def test_another_format_has_a_folder_of_its_own(
    tmp_path: Path, cache: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of(tmp_path / "set", 2)
    load(root)
    old = only_folder(cache)
    before = {path: path.stat().st_mtime_ns for path in old.iterdir()}
    for module in (index, shelf):
        monkeypatch.setattr(module, "FORMAT", 2)
    load(root)
    assert len(decoded) == 4
    assert {path: path.stat().st_mtime_ns for path in old.iterdir()} == before
    monkeypatch.setattr(shelf, "FORMAT", 1)
    load(root)  # one of another format that stands in its place is not read either
    assert len(decoded) == 6


# ---------------------------------------------------------------- the disk


def test_space_is_asked_for_before_anything_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_of(tmp_path / "set", 10)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage._replace(free=10 * 3 * 64 * 64))
    monkeypatch.setattr(build, "decode", None)
    with pytest.raises(ResourceError) as caught:
        load(root, 64)
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
    tmp_path: Path, decoded: list[str], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "rows_of_chunk", lambda side: 4)
    root = folder_of(tmp_path / "set", 200)
    real = levels.ArrayLevel.write

    def full(self: levels.ArrayLevel, first: int, pictures: Any) -> levels.Piece:
        if first >= 128:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, first, pictures)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels.ArrayLevel, "write", full)
        with pytest.raises(
            ResourceError, match=r"no space left on the disk(.|\n)*ANIMEPGGAN_CACHE(.|\n)*goes on"
        ) as caught:
            load(root, workers=workers)
        assert caught.value.exit_code == 6
        assert len(str(caught.value).splitlines()) <= 3
    before = len(decoded)
    assert before < 160  # no more was begun
    assert len(load(root)) == 200
    assert len(decoded) - before == 72


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_words_are_those_of_a_real_full_disk(tmp_path: Path) -> None:
    with (
        pytest.raises(ResourceError, match="no space left"),
        disk.writing(tmp_path),
        Path("/dev/full").open("w") as file,
    ):
        file.write("x")


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
    monkeypatch.setattr(shelf, "writing", None)
    monkeypatch.setattr(shelf, "FileLock", None)
    assert load(root).fingerprint == first.fingerprint


@pytest.mark.parametrize("value", ["much", "-1", "nan", "1e30"])
def test_a_budget_is_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(shelf.BUDGET, value)
    with pytest.raises(RecipeError, match=f"{shelf.BUDGET}={value}"):
        load(folder_of(tmp_path / "set", 1))


def test_an_empty_corpus_leaves_nothing_in_the_cache(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        load(tmp_path / "set")
    assert not cache.exists()


# ---------------------------------------------------------------- encoded levels


@pytest.fixture
def encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus whose levels above 128 px are encoded."""
    monkeypatch.setenv(shelf.BUDGET, "0")
    return folder_of(tmp_path / "set", 20, side=256)


def test_levels_beyond_the_budget_are_encoded_without_loss(
    tmp_path: Path, cache: Path, encoded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = load(encoded, 256)
    folder = only_folder(cache)
    assert {path.name for path in folder.glob("level-*")} == {
        "level-0256.1.webp",
        *(f"level-{side:04d}.1.npy" for side in (128, 64, 32, 16, 8, 4)),
    }
    assert np.array_equal(pixels_of(corpus), wanted_pixels(encoded, list(corpus.names), 256))
    batch = corpus.batch(7, 9, resolution=256, seed=0, mirror=True)
    shutil.rmtree(folder)  # what is read stays readable
    assert torch.equal(corpus.batch(7, 9, resolution=256, seed=0, mirror=True), batch)
    assert np.array_equal(pixels_of(corpus, 64), halve(halve(pixels_of(corpus))))
    monkeypatch.setenv(shelf.BUDGET, "1")
    monkeypatch.setenv("ANIMEPGGAN_CACHE", str(tmp_path / "arrays"))
    arrays = load(encoded, 256)
    assert (tmp_path / "arrays" / "pyramids" / folder.name / "level-0256.1.npy").is_file()
    assert arrays.fingerprint == corpus.fingerprint
    assert torch.equal(arrays.batch(7, 9, resolution=256, seed=0, mirror=True), batch)


def test_the_budget_counts_all_arrays_and_lower_levels_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = levels.Shape(512, True, (0, 0, 0))
    upto = {side: sum(3 * 4**power * 100 for power in range(2, side.bit_length())) for side in (64, 128, 256, 512)}
    assert disk.kinds_within(shape, 100, tmp_path, upto[512]) == ["array"] * 8
    assert disk.kinds_within(shape, 100, tmp_path, upto[512] - 1) == ["webp"] + ["array"] * 7
    assert disk.kinds_within(shape, 100, tmp_path, upto[256] - 1) == ["webp", "webp"] + ["array"] * 6
    assert disk.kinds_within(shape, 100, tmp_path, 0) == ["webp", "webp"] + ["array"] * 6
    usage = shutil.disk_usage(tmp_path)._replace(free=upto[512] * 21 // 20)  # too near to all that there is
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: usage)
    assert disk.kinds_within(shape, 100, tmp_path, upto[512]) == ["webp"] + ["array"] * 7


@given(st.integers(4, 3000))
def test_no_chunk_lies_in_two_files(side: int) -> None:
    assert levels._SHARD % levels.rows_of_chunk(side) == 0
    assert levels.rows_of_chunk(side) * 3 * side * side <= max(levels.LARGEST_CHUNK, 3 * side * side)


def test_an_encoded_level_of_many_files(
    tmp_path: Path, cache: Path, encoded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(levels, "_SHARD", levels.rows_of_chunk(256))
    for number in range(20, 50):
        write(encoded / f"{number:03d}.png", number, 256)
    corpus = load(encoded, 256)
    assert len(list((only_folder(cache) / "level-0256.1.webp").iterdir())) == 4
    assert np.array_equal(pixels_of(corpus), wanted_pixels(encoded, list(corpus.names), 256))
    (encoded / "003.png").unlink()
    write(encoded / "020.png", 99, 256)
    changed = load(encoded, 256)
    assert np.array_equal(pixels_of(changed), wanted_pixels(encoded, list(changed.names), 256))


def test_encoded_pictures_are_decoded_ahead(encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = load(encoded, 256)
    started: list[int] = []
    real = levels.WebpLevel._decode
    monkeypatch.setattr(levels.WebpLevel, "_decode", lambda self, row: started.append(row) or real(self, row))
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


def test_encoded_pictures_are_cut_at_random_too(encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = load(encoded, 128, random_shift=64)
    assert type(corpus._store._levels[0]) is levels.WebpLevel
    pictures = torch.from_numpy(pixels_of(corpus)).permute(0, 3, 1, 2)
    memory = Corpus(pictures, corpus.names, name="x", spec="x", random_shift=64)
    for at in (0, 13, 13):
        options: dict[str, Any] = {"resolution": 64, "seed": 1, "mirror": True}
        assert torch.equal(corpus.batch(at, 9, **options), memory.batch(at, 9, **options))


def test_a_damaged_encoded_picture_is_named_and_mended_at_the_next_start(
    cache: Path, encoded: Path, decoded: list[str]
) -> None:
    corpus = load(encoded, 256)
    fingerprint = corpus.fingerprint
    shard = only_folder(cache) / "level-0256.1.webp" / "000000"
    with shard.open("rb+") as file:
        file.write(b"\0" * 40)
    with pytest.raises(DataError, match=r"damaged(.|\n)*run the same command again"):
        pixels_of(corpus)
    decoded.clear()
    mended = load(encoded, 256)
    assert 0 < len(decoded) <= 20
    assert (mended.fingerprint, len(pixels_of(mended))) == (fingerprint, 20)
    os.truncate(shard, shard.stat().st_size - 1)
    assert np.array_equal(pixels_of(load(encoded, 256)), pixels_of(mended))
    assert np.array_equal(pixels_of(mended), wanted_pixels(encoded, list(mended.names), 256))


# ---------------------------------------------------------------- clusters


def described(root: Path, rows: list[tuple[str, int | None, float]], **more: Any) -> Path:
    path = root.parent / "curated" / "corpus.jsonl"
    description.write(
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


def test_an_edited_description_needs_no_decoding(tmp_path: Path, decoded: list[str]) -> None:
    root = folder_of(tmp_path / "set", 6)
    rows: list[tuple[str, int | None, float]] = [(f"{number:03d}.png", 1 + number // 2, 1.0) for number in range(6)]
    corpora = [load(described(root, rows))]
    rows[3] = ("003.png", 9, 1.0)
    corpora.append(load(described(root, rows)))
    rows[0] = ("000.png", 1, 5.0)
    corpora.append(load(described(root, rows)))
    assert len(decoded) == 6
    assert [len(corpus) for corpus in corpora] == [3, 4, 4]
    assert len({corpus.fingerprint for corpus in corpora}) == 3
    assert len(load(described(root, rows[1:]))) == 4
    assert len(decoded) == 6


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
    clusters = Clusters.of(labels, weights)
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
    assert [groups[key][0] for key in groups] == clusters.first.tolist()


def test_draws_at_the_edges() -> None:
    clusters = Clusters.of([1, 2, 1, 2, 2], [1.0, 1e308, 1.0, 1e308, 1e308])
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
    measure_pyramid.make_index(spec.resolve(str(listing)), 100_000, clusters=True)
    code = """
        import os, sys, time
        from animepggan.corpus import Corpus, spec
        def resident():
            return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        options = {"resolution": 4, "seed": 0, "mirror": True}
        Corpus.load(sys.argv[2], resolution=4).batch(0, 1, **options)
        before, start = resident(), time.perf_counter()
        corpus = Corpus.load(sys.argv[1], resolution=4)
        for epoch in range(3):
            for place in range(0, len(corpus), 200):
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


def test_an_unchanged_folder_is_opened_without_a_list_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million files the list alone would take longer than opening may."""
    root = folder_of(tmp_path / "set", 5)
    load(root)
    monkeypatch.setattr(spec, "_folder", lambda *_, **__: pytest.fail("listed"))
    assert len(load(root).names) == 5


def test_opening_needs_no_torch() -> None:
    code = "import sys, animepggan.corpus.pyramid; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_pyramid_alone_can_be_read(tmp_path: Path) -> None:
    root = folder_of(tmp_path / "set", 4)
    pyramid = shelf.open_pyramid(spec.resolve(str(root)), side=16)
    assert isinstance(pyramid, Pyramid)
    assert (len(pyramid), pyramid.sides, pyramid.bad_count) == (4, [16, 8, 4], 0)
    assert np.array_equal(pyramid.take(np.array([2, 0]), 16), wanted_pixels(root, ["002.png", "000.png"]))
