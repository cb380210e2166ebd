"""Stills out of videos: which frames, in which colors, under which names, and what a second start does."""

from __future__ import annotations

import json
import os
import sys
import time
import wave
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from animepggan import cli
from animepggan.corpus import scenes
from animepggan.corpus.frames import RECORD, frames, time_name
from animepggan.corpus.scenes import Taken
from animepggan.corpus.spec import Bad
from animepggan.corpus.video import Video
from animepggan.disk import replacing

Picture = NDArray[np.uint8]

RATE = 25
SIDE = (96, 160)  # height and width


def scene(number: int, shape: tuple[int, int] = SIDE) -> Picture:
    """Blocks of colors, like no other number's."""
    blocks = np.random.default_rng(number).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    return blocks.repeat(shape[0] // 6, axis=0).repeat(shape[1] // 10, axis=1)


def still_scenes(*numbers: int, seconds: float = 2) -> list[Picture]:
    return [scene(number) for number in numbers for _ in range(int(seconds * RATE))]


def moving(count: int) -> list[Picture]:
    """A pattern that slides a pixel a frame."""
    wide = np.concatenate([scene(7), scene(8), scene(9)], axis=1)
    return [wide[:, at : at + SIDE[1]] for at in range(count)]


def write(
    path: Path,
    pictures: Iterable[Picture],
    *,
    codec: str = "libx264",
    fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation: float | None = None,
    times: Sequence[int] | None = None,  # milliseconds
    **context: Any,
) -> Path:
    pictures = list(pictures)
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=1000 if times else RATE, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, _ = pictures[0].shape
        stream.pix_fmt = fmt
        for key, value in context.items():
            setattr(stream.codec_context, key, value)
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
                format=fmt, dst_colorspace=context.get("colorspace"), dst_color_range=context.get("color_range")
            )
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def take(out: Path, *videos: Path, **wanted: Any) -> list[Taken | Bad]:
    summary = frames(videos, out, **wanted)
    return [*summary.unreadable, *summary.videos]


def taken(out: Path, video: Path, **wanted: Any) -> Taken:
    (result,) = take(out, video, **wanted)
    assert isinstance(result, Taken), result
    return result


def stills(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir() if not path.name.startswith(".") and path.name != RECORD)


def pixels(path: Path) -> Picture:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def run(*arguments: object) -> int:
    return cli.main(["data", "frames", *map(str, arguments)])


# Which frames


def test_a_still_where_a_scene_begins_and_none_that_repeats_it(tmp_path: Path, out: Path) -> None:
    video = write(tmp_path / "ep.mkv", still_scenes(1, 2, 3))
    result = taken(out, video, every=0.5)
    # The second frame of each: the first may hold half of the scene before.
    names = ["ep-00h00m00.040s.png", "ep-00h00m02.040s.png", "ep-00h00m04.040s.png"]
    assert stills(out) == names
    assert (result.scenes, result.between, result.repeats, result.blank) == (3, 0, 9, 0)
    assert result.seconds == pytest.approx(6 - 1 / RATE, abs=1e-3)
    assert result.problem is None
    for number, name in enumerate(names, start=1):
        assert np.abs(pixels(out / name).astype(int) - scene(number)).mean() < 8


def test_a_moving_scene_is_taken_at_the_interval(tmp_path: Path, out: Path) -> None:
    video = write(tmp_path / "pan.mkv", moving(100))
    result = taken(out, video, every=1.0)
    assert (result.scenes, result.between) == (1, 3)
    assert stills(out) == [f"pan-00h00m0{second}.040s.png" for second in range(4)]
    few = taken(out.with_name("few"), video, every=0)
    assert (few.scenes, few.between) == (1, 0)


def test_a_scene_that_comes_back_is_not_taken_again(tmp_path: Path, out: Path) -> None:
    result = taken(out, write(tmp_path / "ep.mkv", still_scenes(1, 2, 1, 2, seconds=1)), every=0)
    assert (result.scenes, result.repeats) == (2, 2)


def test_only_so_many_stills_are_remembered(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenes, "MEMORY", 2)
    video = write(tmp_path / "ep.mkv", still_scenes(1, 2, 3, 2, 1, seconds=1))
    result = taken(out, video, every=0)
    assert (result.scenes, result.repeats) == (4, 1)


def test_a_blink_is_another_still_and_noise_is_not(tmp_path: Path, out: Path) -> None:
    open_eyes = scene(1)
    closed = open_eyes.copy()
    closed[30:42, 40:60] = np.where(closed[30:42, 40:60] < 128, closed[30:42, 40:60] + 60, closed[30:42, 40:60] - 60)
    noisy = np.clip(open_eyes + np.random.default_rng(0).normal(0, 4, open_eyes.shape), 0, 255).astype(np.uint8)
    shots = [picture for picture in (open_eyes, noisy, closed) for _ in range(RATE)]
    result = taken(out, write(tmp_path / "ep.mkv", shots, codec="ffv1", fmt="yuv444p"), every=1.0)
    assert stills(out) == ["ep-00h00m00.040s.png", "ep-00h00m02.040s.png"]
    assert result.repeats == 1


def test_black_and_white_are_left_out_and_a_flash_is_no_scene(tmp_path: Path, out: Path) -> None:
    black, white = np.zeros((*SIDE, 3), np.uint8), np.full((*SIDE, 3), 255, np.uint8)
    flash = [*still_scenes(1, seconds=1), white, *still_scenes(1, seconds=1)]
    video = write(tmp_path / "ep.mkv", [*[black] * RATE, *flash, *[white] * RATE])
    result = taken(out, video, every=0)
    assert (result.scenes, result.repeats, result.blank) == (1, 1, 2)
    assert stills(out) == ["ep-00h00m01.040s.png"]


def test_start_and_end(tmp_path: Path, out: Path) -> None:
    video = write(tmp_path / "ep.mp4", still_scenes(1, 2, 3, 4), options={"g": "10"})
    assert taken(out, video, start=3.0, end=5.0).scenes == 2
    assert stills(out) == ["ep-00h00m03.040s.png", "ep-00h00m04.040s.png"]
    assert np.abs(pixels(out / "ep-00h00m03.040s.png").astype(int) - scene(2)).mean() < 8


def test_what_is_before_the_start_is_not_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "ep.mp4", still_scenes(1, 2, 3, 4), options={"g": "10"})
    with av.open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for packet in packets[: 5 * RATE]:
        data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    with Video(path) as video:
        times = [time for time, _ in video.frames(6.0)]
    assert times[0] == pytest.approx(6.0, abs=1e-3)
    assert len(times) == 50
    assert video.damaged == 0
    with Video(path) as video:
        assert len(list(video.frames())) <= 60
        assert video.damaged > 0


def test_a_start_in_a_file_without_an_index(tmp_path: Path, out: Path) -> None:
    video = write(tmp_path / "ep.m4v", still_scenes(1, 2), codec="mpeg4")
    (tmp_path / "raw.m4v").write_bytes(bare(video))
    result = taken(out, tmp_path / "raw.m4v", start=2.5)
    assert result.scenes == 1
    assert np.abs(pixels(out / stills(out)[0]).astype(int) - scene(2)).mean() < 8


def bare(video: Path) -> bytes:
    """The packets of a video and nothing around them."""
    with av.open(video) as container:
        head = container.streams.video[0].codec_context.extradata or b""
        return head + b"".join(bytes(packet) for packet in container.demux(video=0))


def test_times_are_the_files_own_where_the_rate_varies(tmp_path: Path, out: Path) -> None:
    times = [0, 100, 200, 1234, 1334, 1434, 61_500, 61_600, 61_700]
    pictures = [scene(number) for number in (1, 1, 1, 2, 2, 2, 3, 3, 3)]
    result = taken(out, write(tmp_path / "vfr.mkv", pictures, times=times), every=0)
    # The frames stand for a tenth of a second and longer: nothing is blended, and the first is taken.
    assert stills(out) == ["vfr-00h00m00.000s.png", "vfr-00h00m01.234s.png", "vfr-00h01m01.500s.png"]
    assert result.scenes == 3


def test_a_broadcast_begins_at_zero_whatever_its_clock_says(tmp_path: Path, out: Path) -> None:
    video = write(tmp_path / "ep.ts", still_scenes(1, 2))
    with av.open(video) as container:
        assert container.start_time > 0
    taken(out, video, every=0)
    assert stills(out) == ["ep-00h00m00.040s.png", "ep-00h00m02.040s.png"]


def test_two_broadcasts_joined_go_on_in_time(tmp_path: Path, out: Path) -> None:
    one, two = write(tmp_path / "1.ts", still_scenes(1)), write(tmp_path / "2.ts", still_scenes(2))
    joined = tmp_path / "ep.ts"
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    result = taken(out, joined, every=0)
    assert result.scenes == 2
    assert stills(out)[1] == "ep-00h00m02.040s.png"


# How they look


def comb(picture: Picture) -> float:
    """How much more lines differ from their neighbors than from the next but one."""
    lines = picture.astype(int)
    return float(np.abs(lines[2:] - lines[1:-1]).mean() - np.abs(lines[2:] - lines[:-2]).mean())


def woven() -> list[Picture]:
    """A sharp edge that moves 4 pixels from each field to the next."""
    fields = []
    for at in range(0, 120):
        field = np.full((*SIDE, 3), 40, np.uint8)
        field[:, : 4 * (at % 24) + 30] = (220, 180, 90)
        fields.append(field)
    woven_ = []
    for even, odd in zip(fields[::2], fields[1::2], strict=True):
        frame = even.copy()
        frame[1::2] = odd[1::2]
        woven_.append(frame)
    return woven_


def test_interlaced_frames_are_deinterlaced_and_others_left_alone(tmp_path: Path, out: Path) -> None:
    flagged = write(
        tmp_path / "tv.mpg", woven(), codec="mpeg2video", options={"flags": "+ilme+ildct", "b": "8M", "qmax": "2"}
    )
    plain = write(tmp_path / "web.mkv", woven(), codec="ffv1")
    with av.open(flagged) as container:
        assert all(frame.interlaced_frame for frame in container.decode(video=0))
    take(out, flagged, plain, every=0.3)
    combs = {video: [comb(pixels(out / name)) for name in stills(out) if name.startswith(video)] for video in "tw"}
    assert len(combs["t"]) >= 2
    assert min(combs["w"]) > 3
    assert max(combs["t"]) < 1


def test_a_deinterlaced_frame_is_of_its_own_time(tmp_path: Path, out: Path) -> None:
    """The lines that were there stay as they were; only the missing ones are made up."""
    video = write(tmp_path / "tv.mpg", woven(), codec="mpeg2video", options={"flags": "+ilme+ildct", "qmax": "2"})
    taken(out, video, every=0)
    with av.open(video) as container:
        first, second = (frame.to_ndarray(format="rgb24") for frame in islice(container.decode(video=0), 2))
    still = pixels(out / stills(out)[0])
    kept = [np.abs(still.astype(int) - frame)[::2].mean() for frame in (first, second)]
    other = [np.abs(still.astype(int) - frame)[1::2].mean() for frame in (first, second)]
    assert stills(out)[0].endswith("00.040s.png")
    assert min(kept[1], other[1]) < 2 < min(kept[0], other[0])


COLORS: tuple[tuple[int, int, int], ...] = ((230, 40, 30), (30, 60, 220), (20, 200, 60), (250, 250, 250), (8, 8, 8))


def stripes(shape: tuple[int, int]) -> Picture:
    picture = np.zeros((*shape, 3), np.uint8)
    for number, color in enumerate(COLORS):
        picture[:, number * shape[1] // 5 : (number + 1) * shape[1] // 5] = color
    return picture


@pytest.mark.parametrize(
    ("fmt", "colorspace", "color_range", "shape"),
    [
        ("yuv420p", 1, 1, (96, 160)),  # BT.709, limited range
        ("yuv420p", 5, 1, (96, 160)),  # BT.601
        ("yuv420p", 1, 2, (96, 160)),  # full range
        ("yuv420p10le", 1, 1, (96, 160)),
        ("yuv422p10le", 5, 1, (96, 160)),
        ("yuv444p12le", 1, 2, (96, 160)),
        ("yuv420p10le", 9, 1, (96, 160)),  # BT.2020
        ("bgr0", None, None, (96, 160)),
    ],
)
def test_colors(
    fmt: str, colorspace: int | None, color_range: int | None, shape: tuple[int, int], tmp_path: Path, out: Path
) -> None:
    known = {"colorspace": colorspace, "color_range": color_range} if colorspace else {}
    taken(out, write(tmp_path / "c.mkv", [stripes(shape)] * 3, codec="ffv1", fmt=fmt, **known))
    assert_stripes(pixels(out / stills(out)[0]), 3)


def assert_stripes(picture: Picture, allowed: int) -> None:
    width = picture.shape[1]
    for number, color in enumerate(COLORS):
        middle = picture[picture.shape[0] // 2, (2 * number + 1) * width // 10]
        assert np.abs(middle.astype(int) - color).max() <= allowed, (number, middle)


@pytest.mark.parametrize(("shape", "matrix"), [((480, 640), 5), ((720, 960), 1)])
def test_without_a_matrix_the_size_decides(shape: tuple[int, int], matrix: int, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "c.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *shape, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(stripes(shape), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=matrix, dst_color_range=1)
            frame.colorspace = 2
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with av.open(path) as container:
        assert next(container.decode(video=0)).colorspace == 2
    taken(out, path)
    assert_stripes(pixels(out / stills(out)[0]), 3)


def test_hdr_is_brought_to_the_brightness_of_a_picture(tmp_path: Path, out: Path) -> None:
    """White paper is 203 cd/m2 in HDR, 58 % of the signal of SMPTE ST 2084 (ITU-R BT.2408)."""
    path = tmp_path / "hdr.mkv"
    planes = np.full((96 * 3 // 2, 160), 512, np.uint16)
    planes[:96, :80], planes[:96, 80:] = 64 + round(0.58 * 876), 64
    with av.open(path, "w") as container:
        stream = container.add_stream("ffv1", rate=RATE)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = 96, 160, "yuv420p10le"
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_trc, context.color_primaries = 9, 1, 16, 9
        for _ in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p10le")))
        container.mux(stream.encode())
    taken(out, path)
    still = pixels(out / stills(out)[0])
    assert still[48, 40].min() >= 240
    assert still[48, 120].max() <= 5


def quarters(shape: tuple[int, int] = SIDE) -> Picture:
    picture = np.zeros((*shape, 3), np.uint8)
    height, width = shape[0] // 2, shape[1] // 2
    picture[:height, :width] = (220, 30, 30)
    picture[:height, width:] = (30, 200, 30)
    picture[height:, :width] = (30, 30, 220)
    return picture


@pytest.mark.parametrize(("rotation", "turns"), [(90, 1), (-90, 3), (180, 2)])
def test_a_phones_video_is_turned_upright(rotation: float, turns: int, tmp_path: Path, out: Path) -> None:
    taken(out, write(tmp_path / "phone.mp4", [quarters()] * 3, rotation=rotation))
    still = pixels(out / stills(out)[0])
    expected = np.rot90(quarters(), turns)
    assert still.shape == expected.shape
    assert np.abs(still.astype(int) - expected).mean() < 8


@pytest.mark.parametrize(
    ("aspect", "shape"), [(Fraction(4, 3), (96, 213)), (Fraction(8, 9), (108, 160)), (Fraction(10, 1), (96, 160))]
)
def test_pixels_become_square(aspect: Fraction, shape: tuple[int, int], tmp_path: Path, out: Path) -> None:
    taken(out, write(tmp_path / "dvd.mkv", [quarters()] * 3, sample_aspect_ratio=aspect))
    assert pixels(out / stills(out)[0]).shape == (*shape, 3)


def test_jpeg(tmp_path: Path, out: Path) -> None:
    video = write(tmp_path / "ep.mkv", still_scenes(1))
    taken(out, video, format="jpeg", quality=90)
    taken(out, video, format="jpeg", quality=20, start=0.1)
    (fine, coarse) = (out / name for name in stills(out))
    assert fine.suffix == ".jpg"
    assert fine.stat().st_size > coarse.stat().st_size
    with Image.open(fine) as image:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).astype(int) - scene(1)).mean() < 10


# What cannot be read


def sound(path: Path, cover: bool) -> Path:
    with av.open(path, "w") as container:
        voice = container.add_stream("aac", rate=44100)
        assert isinstance(voice, av.AudioStream)
        if cover:
            picture = container.add_stream("mjpeg", rate=1)
            assert isinstance(picture, av.VideoStream)
            picture.height, picture.width, picture.pix_fmt = *SIDE, "yuvj420p"
            picture.disposition = Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame.from_ndarray(scene(99), format="rgb24")))
            container.mux(picture.encode())
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        for number in range(20):
            frame.pts = 1024 * number
            container.mux(voice.encode(frame))
        container.mux(voice.encode())
    return path


def test_sound_with_a_cover_has_no_moving_pictures(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sound(tmp_path / "song.mp4", cover=True), "-o", out) == 3
    assert "no moving pictures in it, only a cover" in capsys.readouterr().err
    with wave.open(str(tmp_path / "song.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))
    assert run(tmp_path / "song.wav", sound(tmp_path / "plain.m4a", cover=False), "-o", out) == 3
    assert stills(out) == []


def test_a_cover_is_not_taken_for_the_video(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "ep.mp4"
    with av.open(path, "w") as container:
        cover = container.add_stream("mjpeg", rate=1)
        assert isinstance(cover, av.VideoStream)
        cover.height, cover.width, cover.pix_fmt = 480, 640, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        stream = container.add_stream("libx264", rate=RATE)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *SIDE, "yuv420p"
        container.mux(cover.encode(av.VideoFrame.from_ndarray(scene(99, (480, 640)), format="rgb24")))
        container.mux(cover.encode())
        for picture in still_scenes(1, 2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    with av.open(path) as container:
        assert any(stream.disposition & Disposition.attached_pic for stream in container.streams.video)
    assert taken(out, path).scenes == 2
    assert {pixels(out / name).shape for name in stills(out)} == {(*SIDE, 3)}


def test_of_a_truncated_video_what_was_read_is_kept(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write(tmp_path / "whole.mkv", [*moving(100), *still_scenes(1, 2, 3)]).read_bytes()
    (tmp_path / "ep.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    assert run(tmp_path / "ep.mkv", "-o", out, "--json") == 0
    captured = capsys.readouterr()
    (video,) = json.loads(captured.out)["videos"]
    assert 0 < video["stills"] == len(stills(out))
    assert "of 0:10" in video["problem"]
    assert "it ends at 0:0" in captured.err
    assert "what was read is kept" in captured.err


@pytest.mark.parametrize("ending", ["mkv", "mp4", "avi", "ts"])
def test_damage_in_the_middle_is_passed_over(ending: str, tmp_path: Path, out: Path) -> None:
    path = write(
        tmp_path / f"ep.{ending}",
        still_scenes(*range(1, 9), seconds=1),
        codec="mpeg4" if ending == "avi" else "libx264",
        options={"g": "12"},
    )
    data = bytearray(path.read_bytes())
    middle, size = len(data) // 2, len(data) // 12
    data[middle : middle + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)
    result = taken(out, path)
    assert 5 <= result.scenes <= 8
    assert result.seconds > 6
    # No still is a ruin: each is one of the scenes.
    for name in stills(out):
        nearest = min(np.abs(pixels(out / name).astype(int) - scene(number)).mean() for number in range(1, 9))
        assert nearest < 12, name


def test_one_that_cannot_be_read_stops_no_other(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.mkv", still_scenes(1))
    (tmp_path / "page.mkv").write_text("<!doctype html><title>404</title>")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(write(tmp_path / "whole.mp4", still_scenes(1)).read_bytes()[:3000])
    bad = [tmp_path / name for name in ("page.mkv", "empty.mp4", "cut.mp4", "missing\n.mkv")]
    assert run(*bad, good, "-o", out, "--json") == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert [row["name"] for row in result["unreadable"]] == [str(path) for path in bad]
    assert len(captured.err.splitlines()) == 4 + 2
    assert "missing\\n.mkv: No such file" in captured.err
    assert result["stills"] == 1
    assert run(*bad, "-o", tmp_path / "none") == 3
    assert "no video could be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.ffconcat", "ffconcat version 1.0\nfile 'secret.mkv'\n"),
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nsecret.ts\n#EXT-X-ENDLIST\n"),
        ("list.mkv", "ffconcat version 1.0\nfile 'secret.mkv'\n"),
    ],
)
def test_a_list_of_other_files_is_no_video(name: str, text: str, tmp_path: Path, out: Path) -> None:
    for ending in ("mkv", "ts"):
        write(tmp_path / f"secret.{ending}", still_scenes(1))
    (tmp_path / name).write_text(text)
    (result,) = take(out, tmp_path / name)
    assert isinstance(result, Bad)
    assert "not a video" in result.reason


def test_a_name_that_looks_like_an_address_is_a_file(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "x.mkv", still_scenes(1)).rename("concat:a|b.mkv")
    assert taken(out, Path("concat:a|b.mkv")).name == "concat_a_b"


@pytest.mark.parametrize(("side", "kind"), [(2000, Taken), (9400, Bad)])
def test_frames_of_absurd_size_are_refused(tmp_path: Path, out: Path, side: int, kind: type) -> None:
    with (tmp_path / "ep.y4m").open("wb") as file:
        file.write(f"YUV4MPEG2 W{side} H{side} F25:1 Ip C420jpeg\n".encode())
        for _ in range(2):
            file.write(b"FRAME\n")
            file.truncate(file.seek(side * side * 3 // 2, os.SEEK_CUR))  # zeros that take no disk
    (result,) = take(out, tmp_path / "ep.y4m")
    assert isinstance(result, kind)


def test_without_pyav_the_extra_is_named(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "ep.mkv", still_scenes(1))
    monkeypatch.setitem(sys.modules, "av", None)
    assert run(path, "-o", out) == 3
    assert 'pip install "animepggan[video]"' in capsys.readouterr().err
    assert not out.exists()


# Names


def test_equal_names_in_different_folders(tmp_path: Path, out: Path) -> None:
    def video(folder: str, name: str, number: int) -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        return write(tmp_path / folder / name, still_scenes(number, seconds=1))

    def names(*videos: Path) -> list[str]:
        return [result.name for result in take(out, *videos) if isinstance(result, Taken)]

    one, two = video("s1", "ep.mkv", 1), video("s2", "EP.mkv", 2)
    assert names(two, one) == ["s2-EP", "s1-ep"]
    three = video("s3", "ep.mkv", 3)
    assert names(one, three, two) == ["s1-ep", "ep", "s2-EP"]
    assert names(video("s4", "ep.mkv", 4)) == ["s4-ep"]
    hashed = names(video("s5", "ep.mkv", 5), video("s5", "ep.mp4", 6))
    assert len(set(hashed)) == 2
    assert all(name.startswith("ep-") and len(name) == len("ep-") + 8 for name in hashed)
    for name, number in zip(["s1-ep", "s2-EP", "ep", "s4-ep", *hashed], range(1, 7), strict=True):
        assert np.abs(pixels(out / f"{name}-00h00m00.040s.png").astype(int) - scene(number)).mean() < 8


def test_the_order_of_the_arguments_changes_no_name(tmp_path: Path) -> None:
    paths = []
    for folder, number in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        paths.append(write(tmp_path / folder / "ep.mkv", still_scenes(number, seconds=1)))
    take(tmp_path / "one", *paths)
    take(tmp_path / "two", *reversed(paths))
    assert stills(tmp_path / "one") == stills(tmp_path / "two")


def test_names_that_no_file_system_takes(tmp_path: Path, out: Path) -> None:
    odd = write(tmp_path / "x.mkv", still_scenes(1, seconds=1)).rename(tmp_path / ".a\x1b[31m\n b?.mkv")
    long = write(tmp_path / "x.mkv", still_scenes(2, seconds=1)).rename(tmp_path / ("ü" * 120 + ".mkv"))
    take(out, odd, long)
    assert stills(out) == ["a_[31m_ b_-00h00m00.040s.png", "ü" * 90 + "-00h00m00.040s.png"]


def test_a_folder_stands_for_its_videos(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "season"
    folder.mkdir()
    for number in (2, 1):
        write(folder / f"ep{number}.mkv", still_scenes(number, seconds=1))
    (folder / "notes.txt").write_text("not a video")
    (folder / ".hidden.mkv").write_text("not a video")
    assert [result.name for result in take(out, folder)] == ["ep1", "ep2"]
    (tmp_path / "nothing").mkdir()
    assert run(tmp_path / "nothing", "-o", out) == 3


def test_times_of_long_videos_sort(tmp_path: Path) -> None:
    stamps = [time_name(seconds) for seconds in (0, 0.0004, 59.9996, 60, 723.48, 3599.9999, 36_000)]
    assert stamps == sorted(stamps)
    assert stamps[4] == "00h12m03.480s"
    assert stamps[2] == stamps[3] == "00h01m00.000s"


# A second start


def test_what_is_done_is_not_done_again(tmp_path: Path, out: Path) -> None:
    one, two = write(tmp_path / "1.mkv", still_scenes(1)), write(tmp_path / "2.mkv", still_scenes(2))
    first = taken(out, one)
    (out / stills(out)[0]).unlink()  # thrown away by hand: it stays away
    again, other = take(out, one, two)
    assert isinstance(again, Taken)
    assert again.before
    assert again.stills == first.stills
    assert isinstance(other, Taken)
    assert not other.before
    moved = one.rename(tmp_path / "moved.mkv")
    assert taken(out, moved).before
    assert stills(out) == ["2-00h00m00.040s.png"]
    assert not taken(out, moved, every=0.5).before
    assert stills(out) == ["1-00h00m00.040s.png", "2-00h00m00.040s.png"]


def test_an_interrupted_video_is_taken_up_where_its_stills_end(tmp_path: Path, out: Path) -> None:
    video = write(tmp_path / "ep.mkv", still_scenes(1, 2, 3, 4, seconds=1))

    def stop(what: str, done: int, total: int) -> None:
        if done == 2:
            while not stills(out):  # written by another thread
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frames(video, out, bar=stop)
    early = {name: (out / name).stat().st_mtime_ns for name in stills(out)}
    assert 1 <= len(early) <= 3
    result = taken(out, video)
    assert not result.before
    assert len(stills(out)) == result.stills == 4
    for name, written in early.items():
        assert (out / name).stat().st_mtime_ns == written
    assert not list(out.glob(".*.partial"))


def test_a_download_that_was_finished_keeps_its_name(tmp_path: Path, out: Path) -> None:
    whole = write(tmp_path / "whole.mkv", still_scenes(1, 2, 3, 4)).read_bytes()
    video = tmp_path / "ep.mkv"
    video.write_bytes(whole[: len(whole) * 6 // 10])
    assert taken(out, video).problem is not None
    assert taken(out, video).problem is not None
    video.write_bytes(whole)
    result = taken(out, video)
    assert (result.name, result.problem, result.before, result.scenes) == ("ep", None, False, 4)


def test_a_damaged_record_costs_no_more_than_the_work(tmp_path: Path, out: Path) -> None:
    video = write(tmp_path / "ep.mkv", still_scenes(1))
    taken(out, video)
    record = out / RECORD
    lines = record.read_text().splitlines()
    record.write_text(lines[0] + "\n" + lines[1][:40] + "\n[]\n" + '{"name": "x"}\n')
    assert not taken(out, video).before
    assert taken(out, video).before


def test_one_process_at_a_time(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write(tmp_path / "ep.mkv", still_scenes(1))
    out.mkdir()
    with FileLock(out / ".lock"):
        assert run(video, "-o", out) == 8
    assert "another process" in capsys.readouterr().err


def test_a_full_disk_is_said(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("a disk that is always full is a device of Linux")
    video = write(tmp_path / "ep.mkv", still_scenes(1))
    out.mkdir()
    with pytest.raises(KeyError), replacing(out / "ep-00h00m00.040s.png") as partial:
        raise KeyError  # to learn what it is called
    partial.symlink_to("/dev/full")
    assert run(video, "-o", out) == 6
    assert "no space left" in capsys.readouterr().err
    assert run(video, "-o", out) == 0
    assert stills(out) == ["ep-00h00m00.040s.png"]


# The command


def test_the_command_says_what_it_did(tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = write(tmp_path / "ep.mkv", still_scenes(1, 2))
    assert run(video, "-o", out, "--every", 0.5, "--end", "0:03.5", "--format", "jpeg", "--quality", 90) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}\n"
    assert "2 stills up to 0:03, 2 where a scene begins; left out: 5 repeats" in captured.err
    assert run(video, "-o", out, "--every", 0.5, "--end", 3.5, "--format", "jpeg", "--quality", 90, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["folder"] == str(out)
    (row,) = result["videos"]
    assert row["video"] == str(video)
    assert (row["stills"], row["scenes"], row["repeats"], row["before"]) == (2, 2, 5, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "VIDEO"),
        (["x", "--every", "nan"], "not a number"),
        (["x", "--every", -1], "--every"),
        (["x", "--start", "1:75"], "not a time"),
        (["x", "--start", "a"], "not a time"),
        (["x", "--start", 10, "--end", "0:10"], "--end"),
        (["x", "--quality", 90], "--format jpeg"),
    ],
)
def test_what_is_refused(arguments: list[object], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err


def test_the_bar_counts_seconds_of_video(tmp_path: Path, out: Path) -> None:
    video = write(tmp_path / "ep.mkv", still_scenes(1, 2))
    done: list[tuple[str, int, int]] = []
    frames(video, out, start=1, end=3, bar=lambda *told: done.append(told))
    assert {(what, total) for what, _, total in done} == {("frames", 2)}
    assert [count for _, count, _ in done] == sorted(count for _, count, _ in done)
    assert {count for _, count, _ in done} == {0, 1, 2}
    done.clear()
    frames(video, out, start=1, end=3, bar=lambda *told: done.append(told))
    assert done == []
