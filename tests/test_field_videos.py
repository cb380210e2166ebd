"""Videos as they come: tags that nobody checked, frames that are not there, and folders of all sorts."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av")

from test_frames import RATE, SIDE, pixels, run, scene, still_scenes, stills, take, taken, write  # noqa: E402

from animepggan.corpus.frames import find_videos  # noqa: E402


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("matrix", [3, 8, 10, 12, 14])
def test_a_matrix_that_nobody_knows_ends_nothing(
    tmp_path: Path, out: Path, matrix: int, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = write(tmp_path / "a.mp4", still_scenes(1, seconds=0.4))
    retag(odd, matrix)
    write(tmp_path / "b.mp4", still_scenes(2, seconds=0.4))
    assert run(odd, tmp_path / "b.mp4", "-o", out) == 0
    assert [name[0] for name in stills(out)] == ["a", "b"]
    assert np.abs(pixels(out / stills(out)[0]).astype(int) - scene(1)).mean() < 8
    assert ("unknown matrix" in capsys.readouterr().err) == (matrix != 3)


def retag(path: Path, matrix: int) -> None:
    """Say in a video's own stream that its colors are by another matrix."""
    from av.bitstream import BitStreamFilterContext

    tagged = path.with_name("retagged.mp4")
    with av.open(str(path)) as source, av.open(str(tagged), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        change = BitStreamFilterContext(f"h264_metadata=matrix_coefficients={matrix}", stream, copy)
        for packet in source.demux(stream):
            for changed in change.filter(packet if packet.dts is not None else None):
                changed.stream = copy
                target.mux(changed)
    tagged.replace(path)


@pytest.mark.parametrize("matrix", [(1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1)])
@pytest.mark.parametrize("turned", [False, True])
def test_mirrored_and_turned_videos_are_shown_as_they_should_be(
    tmp_path: Path, out: Path, matrix: tuple[int, int, int, int], turned: bool
) -> None:
    a, b, c, d = (0, matrix[0], matrix[3], 0) if turned else matrix
    path = write(tmp_path / "a.mp4", still_scenes(5, seconds=0.4))
    data = path.read_bytes()
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(upright, data.index(b"tkhd"))
    one = 1 << 16
    path.write_bytes(
        data[:at] + struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30) + data[at + 36 :]
    )
    taken(out, path)
    seen = pixels(out / stills(out)[0]).astype(int)
    for y, x in ((8, 8), (88, 8), (8, 152), (40, 72)):
        right, down = a * x + c * y, b * x + d * y  # where the pixel belongs, by the file
        height, width = seen.shape[:2]
        assert np.abs(seen[down % height, right % width] - scene(5)[y, x]).max() < 40, (y, x)
    assert seen.shape[:2] == (SIDE[::-1] if turned else SIDE)


def test_frames_of_no_bytes_are_those_before_shown_again(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *SIDE, "yuvj420p"
        for number, picture in enumerate(still_scenes(1, 2)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
                format="yuvj420p"
            )
            frame.pts = number
            for packet in stream.encode(frame):
                if number % 50 > 4:  # as encoders do where nothing moves
                    empty = av.Packet(b"")
                    empty.stream, empty.pts, empty.dts, empty.time_base = (
                        stream,
                        packet.pts,
                        packet.dts,
                        packet.time_base,
                    )
                    container.mux(empty)
                else:
                    container.mux(packet)
    result = taken(out, path)
    assert (result.damaged, len(stills(out))) == (0, 2)


def test_a_folder_stands_for_all_videos_in_it(tmp_path: Path) -> None:
    film = write(tmp_path / "film.mkv", still_scenes(1, seconds=0.2)).read_bytes()
    for name in (
        "s1/e1.mkv",
        "s1/e2.mkv",
        "s2/sub/e1.m2t",
        "e0.dat",
        "note.txt",
        "@eaDir/e0.mkv/t.mkv",
        "#recycle/x.mkv",
    ):
        (tmp_path / "all" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / name).write_bytes(b"no film" if name.endswith("txt") else film)
    (tmp_path / "all/link.mkv").symlink_to(tmp_path / "film.mkv")
    found = [str(path.relative_to(tmp_path / "all")) for path in find_videos([tmp_path / "all"])]
    assert found == ["e0.dat", "link.mkv", "s1/e1.mkv", "s1/e2.mkv", "s2/sub/e1.m2t"]


def test_one_file_that_is_no_video_is_one_line(tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "all"
    folder.mkdir()
    write(folder / "good.mkv", still_scenes(1, seconds=0.4))
    (folder / "a.ts").write_text("export const a = 1")
    (folder / "b.mp4").write_bytes(b"")
    (folder / "c.mkv").write_bytes((folder / "good.mkv").read_bytes()[:300])
    results = {Path(str(getattr(each, "video", getattr(each, "name", "")))).name for each in take(out, folder)}
    assert results == {"a.ts", "b.mp4", "c.mkv", "good.mkv"}
    assert len(stills(out)) == 1
