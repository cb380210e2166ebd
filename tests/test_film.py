"""Films: one palette, every frame, the right time, whole or not at all."""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from models import loaded, save_model
from numpy.typing import NDArray
from PIL import Image

from animepggan import cli
from animepggan.checkpoint import load_generator, write_folder
from animepggan.disk import replacing
from animepggan.errors import RecipeError, ResourceError
from animepggan.sampling.blend import blend
from animepggan.sampling.draw import draw
from animepggan.sampling.film import check_film, write_film
from animepggan.sampling.grid import grid
from animepggan.sampling.latents import closed_walk, latents_of
from animepggan.sampling.palette import palette_of
from animepggan.streams import stream

Picture = NDArray[np.uint8]


def gradients(count: int, side: int = 64) -> list[Picture]:
    """Soft gradients that turn: many more colors than a palette has, and every frame another."""
    ramp = np.linspace(0, 1, side)
    frames = []
    for frame in range(count):
        phase = 2 * np.pi * frame / count
        channels = [
            np.sin(phase + 3 * ramp)[:, None] * np.cos(2 * ramp + channel)[None, :] * 0.5 + 0.5 for channel in range(3)
        ]
        frames.append(np.rint(255 * np.stack(channels, axis=2)).astype(np.uint8))
    return frames


@dataclass
class Gif:
    """What stands in a GIF file, read block by block."""

    colors: int  # of the global palette
    loops: int
    delays: list[int]  # hundredths of a second
    local_palettes: int


def parse_gif(data: bytes) -> Gif:
    assert data[:6] == b"GIF89a"
    flags = data[10]
    assert flags & 0x80
    gif = Gif(colors=2 << (flags & 7), loops=-1, delays=[], local_palettes=0)
    at = 13 + 3 * gif.colors

    def skip_blocks(at: int) -> int:
        while data[at]:
            at += 1 + data[at]
        return at + 1

    while data[at] != 0x3B:
        if data[at] == 0x21 and data[at + 1] == 0xF9:
            gif.delays.append(struct.unpack_from("<H", data, at + 4)[0])
            at = skip_blocks(at + 2)
        elif data[at] == 0x21:
            if data[at + 3 : at + 14] == b"NETSCAPE2.0":
                gif.loops = struct.unpack_from("<H", data, at + 16)[0]
            at = skip_blocks(at + 2)
        else:
            assert data[at] == 0x2C
            local = data[at + 9]
            gif.local_palettes += local >> 7
            at = skip_blocks(at + 11 + (3 * (2 << (local & 7)) if local & 0x80 else 0))
    assert at == len(data) - 1
    return gif


def read_back(path: Path) -> tuple[list[Picture], list[float]]:
    """The frames as Pillow shows them, and how long each lasts in milliseconds."""
    frames, durations = [], []
    with Image.open(path) as image:
        assert getattr(image, "is_animated", False)
        assert image.info.get("loop") == 0
        for index in range(image.n_frames):  # type: ignore[attr-defined]
            image.seek(index)
            frames.append(np.asarray(image.convert("RGB")))
            durations.append(float(image.info["duration"]))
    return frames, durations


def test_a_gif_has_one_palette_and_every_frame_for_its_time(tmp_path: Path) -> None:
    frames = gradients(12)
    write_film(frames, tmp_path / "walk.gif", fps=30)
    gif = parse_gif((tmp_path / "walk.gif").read_bytes())
    assert gif == Gif(colors=256, loops=0, delays=[3, 3, 4] * 4, local_palettes=0)


@pytest.mark.slow
def test_a_gif_of_60_frames_at_256_px_takes_under_3_seconds(tmp_path: Path) -> None:
    frames = gradients(60, side=256)
    before = time.process_time()
    write_film(frames, tmp_path / "walk.gif", fps=20)
    assert time.process_time() - before < 3


def test_a_gif_keeps_frames_that_are_alike(tmp_path: Path) -> None:
    frames = [gradients(1)[0]] * 3
    write_film(frames, tmp_path / "still.gif", fps=20)
    assert parse_gif((tmp_path / "still.gif").read_bytes()).delays == [5, 5, 5]
    shown, _ = read_back(tmp_path / "still.gif")
    assert np.array_equal(shown[0], shown[2])


def blurred(picture: Picture) -> NDArray[np.float64]:
    """What the eye sees of a dithered picture: means of 4x4 pixels."""
    side = picture.shape[0] // 4
    return picture.reshape(side, 4, side, 4, 3).astype(float).mean(axis=(1, 3))


@pytest.mark.parametrize(
    ("name", "error", "blurred_error"),
    [("walk.gif", 12, 4), ("walk.webp", 8, 4), ("walk.apng", 0, 0), ("walk.png", 0, 0), ("WALK.GIF", 12, 4)],
)
def test_every_film_is_read_back_by_pillow(name: str, error: float, blurred_error: float, tmp_path: Path) -> None:
    frames = gradients(12)
    write_film(iter(frames), tmp_path / name, fps=20)
    shown, durations = read_back(tmp_path / name)
    assert len(shown) == len(frames)
    assert durations == [50.0] * 12
    for one, other in zip(shown, frames, strict=True):
        assert one.shape == other.shape
        assert np.abs(one.astype(float) - other).mean() <= error
        assert np.abs(blurred(one) - blurred(other)).mean() <= blurred_error
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["walk.webp", "walk.apng"])
def test_times_of_a_film_add_up_to_whole_seconds(name: str, tmp_path: Path) -> None:
    write_film(gradients(24, side=8), tmp_path / name, fps=24)
    assert sum(read_back(tmp_path / name)[1]) == pytest.approx(1000, abs=0.1)


def test_a_film_of_single_frames(tmp_path: Path) -> None:
    frames = gradients(5)
    write_film(frames, tmp_path / "walk", fps=20)
    names = [f"frame-{number:04d}.png" for number in range(5)]
    assert sorted(entry.name for entry in (tmp_path / "walk").iterdir()) == names
    write_film(frames[1:4], tmp_path / "walk", fps=20)
    assert sorted(entry.name for entry in (tmp_path / "walk").iterdir()) == names[:3]
    with Image.open(tmp_path / "walk" / names[0]) as image:
        assert np.array_equal(np.asarray(image), frames[1])
    assert [entry.name for entry in tmp_path.iterdir()] == ["walk"]


@pytest.mark.parametrize("side", [64, 8])
def test_an_mp4_that_every_player_shows(side: int, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    frames = gradients(12, side)
    write_film(frames, tmp_path / "walk.mp4", fps=24)
    data = (tmp_path / "walk.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays while it loads
    with av.open(str(tmp_path / "walk.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == Fraction(24)
        assert stream.codec_context.colorspace == 1  # BT.709
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(shown) == 12
    assert shown[0].shape == (64, 64, 3)
    factor = 64 // side
    for one, other in zip(shown, frames, strict=True):
        enlarged = other.repeat(factor, axis=0).repeat(factor, axis=1)
        assert np.abs(blurred(one) - blurred(enlarged)).mean() < 5


def test_mp4_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(RecipeError, match=r'pip install "animepggan\[video\]"'):
        write_film(gradients(2), tmp_path / "walk.mp4", fps=20)
    assert not list(tmp_path.iterdir())


# Palettes


def test_a_palette_keeps_a_film_of_few_colors_exact() -> None:
    colors = np.array([[0, 0, 0], [255, 255, 255], [85, 170, 255], [255, 0, 85]], dtype=np.uint8)
    frames = [colors[np.random.default_rng(seed).integers(0, 4, (16, 16))] for seed in range(3)]
    palette = palette_of(frames, 255)
    assert len(palette.colors) == 4
    for frame in frames:
        assert np.array_equal(palette.colors[palette.reduce(frame)], frame)


def test_a_palette_lies_nearer_to_the_film_than_the_median_cut() -> None:
    frames = gradients(12)
    palette = palette_of(frames, 64)
    pixels = np.concatenate(frames).reshape(-1, 3)

    def error(colors: Picture) -> float:
        squares = np.square(pixels[::7, None].astype(float) - colors).sum(axis=2)
        return float(squares.min(axis=1).mean())

    cut = Image.fromarray(np.concatenate(frames)).quantize(64, method=Image.Quantize.MEDIANCUT).getpalette()
    assert cut is not None
    assert 60 <= len(palette.colors) <= 64
    assert error(palette.colors) < 0.9 * error(np.array(cut, dtype=np.uint8).reshape(-1, 3))


def test_a_palette_serves_the_whole_film() -> None:
    red, blue = np.zeros((2, 16, 16, 3), dtype=np.uint8)
    red[..., 0] = 255
    blue[..., 2] = 255
    palette = palette_of([red] * 30 + [blue], 255)
    assert np.array_equal(palette.colors[palette.reduce(blue)], blue)


def test_dithering_mixes_two_colors_to_the_mean() -> None:
    dark, light = np.full((2, 32, 32, 3), 85, dtype=np.uint8)
    light[:] = 170
    between = np.full((32, 32, 3), 117, dtype=np.uint8)
    palette = palette_of([dark] * 500 + [light] * 500 + [between], 2)
    assert palette.colors[:, 0].tolist() in ([85, 170], [170, 85])
    shown = palette.colors[palette.reduce(between)]
    assert set(np.unique(shown)) == {85, 170}
    assert shown.mean() == pytest.approx(117, abs=2)
    assert np.array_equal(palette.reduce(dark), palette.reduce(dark[:1, :1]).repeat(32, 0).repeat(32, 1))


# What goes wrong


@pytest.mark.parametrize("name", ["walk.avi", "walk.jpg", "walk.v2"])
def test_an_unknown_ending_names_the_known_ones(name: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"\.gif, \.webp, \.apng, \.png, \.mp4"):
        check_film(tmp_path / name, 20)


def test_a_gif_has_a_fastest_rate(tmp_path: Path) -> None:
    check_film(tmp_path / "walk.gif", 50)
    check_film(tmp_path / "walk.webp", 100)
    with pytest.raises(RecipeError, match="at most 50"):
        check_film(tmp_path / "walk.gif", 51)


def test_a_folder_with_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "frame-0000.png").touch()
    (tmp_path / "seed000001.png").touch()
    for path in (tmp_path, Path()):
        with pytest.raises(RecipeError, match="holds something else"):
            write_film(gradients(2), path, fps=20)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_film_of_single_frames_does_not_replace_a_file(tmp_path: Path) -> None:
    (tmp_path / "walk").write_text("mine")
    with pytest.raises(RecipeError, match="holds something else"):
        write_film(gradients(2), tmp_path / "walk", fps=20)
    assert (tmp_path / "walk").read_text() == "mine"


def test_a_folder_by_the_name_of_a_film(tmp_path: Path) -> None:
    (tmp_path / "walk.gif").mkdir()
    with pytest.raises(RecipeError, match="is a folder"):
        write_film(gradients(2), tmp_path / "walk.gif", fps=20)


@pytest.mark.parametrize("name", ["walk.gif", "walk.webp", "walk.apng", "walk.mp4", "walk"])
def test_a_film_that_is_cut_short_leaves_the_older_one(name: str, tmp_path: Path) -> None:
    if name.endswith(".mp4"):
        pytest.importorskip("av")
    frames = gradients(3)
    write_film(frames, tmp_path / name, fps=20)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def interrupted() -> Iterator[Picture]:
        yield frames[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_film(interrupted(), tmp_path / name, fps=20)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["walk.gif", "walk.webp", "walk.apng", "walk.mp4"])
def test_a_full_disk_leaves_the_older_film(name: str, tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("a disk that is always full is a device of Linux")
    if name.endswith(".mp4"):
        pytest.importorskip("av")
    (tmp_path / name).write_bytes(b"an older film")
    with pytest.raises(KeyError), replacing(tmp_path / name) as partial:
        raise KeyError  # to learn what it is called
    partial.symlink_to("/dev/full")
    with pytest.raises(ResourceError, match="disk is full"):
        write_film(gradients(3), tmp_path / name, fps=20)
    assert (tmp_path / name).read_bytes() == b"an older film"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


# The command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "stage-0016")


def run(*arguments: object) -> int:
    return cli.main(["interpolate", *map(str, arguments)])


def test_interpolate_walks_through_its_seeds(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = tmp_path / "new" / "walk.apng"
    assert (
        run(
            model,
            "--seeds",
            "5,1,9",
            "--frames",
            12,
            "--fps",
            10,
            "--truncation",
            0.7,
            "--scale",
            1,
            "-o",
            film,
            "--json",
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out) == {
        "model": str(model),
        "file": str(film),
        "frames": 12,
        "fps": 10,
        "seeds": [5, 1, 9],
        "resolution": 16,
        "truncation": 0.7,
        "precision": "fp32",
        "scale": 1,
    }
    shown, durations = read_back(film)
    assert durations == [100.0] * 12
    own = loaded()
    faces = list(latents_of([5, 1, 9], own.generator.latent_dim))
    expected = list(draw(own, closed_walk(faces, 12), truncation=0.7))
    corners = list(draw(own, faces, truncation=0.7))
    for one, other in zip(shown, expected, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    for index, corner in enumerate(corners):
        assert np.abs(shown[4 * index].astype(int) - corner).max() <= 1


def test_interpolate_by_default(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(model) == 0
    path = Path("samples/interpolation.gif")
    assert capsys.readouterr().out == f"{path}\n"
    assert parse_gif(path.read_bytes()).delays == [5] * 60
    frames, _ = read_back(path)
    assert frames[0].shape == (128, 128, 3)  # of 16 px, enlarged so that a face can be seen
    assert all(np.array_equal(frame, frame[::8, ::8].repeat(8, axis=0).repeat(8, axis=1)) for frame in frames)
    steps = [np.abs(a.astype(float) - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert steps[-1] < 2 * np.mean(steps)  # the loop has no jump


@pytest.mark.parametrize("name", ["walk.gif", "walk.apng", "walk"])
def test_a_film_is_enlarged_pixel_by_pixel(name: str, tmp_path: Path) -> None:
    frames = gradients(3, side=8)
    films = []
    for scale in (1, 4):
        path = tmp_path / f"{scale}" / name
        write_film(frames, path, fps=20, scale=scale)
        paths = sorted(path.iterdir()) if path.is_dir() else []
        films.append([np.asarray(Image.open(each)) for each in paths] or read_back(path)[0])
    for small, large in zip(*films, strict=True):
        assert np.array_equal(large, small.repeat(4, axis=0).repeat(4, axis=1))


def test_a_name_that_no_film_has_is_refused_before_a_model_is_looked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "missing", "-o", tmp_path / "walk.avi") == 2
    assert "no film ends in .avi" in capsys.readouterr().err
    assert run(tmp_path / "missing", "-o", tmp_path / "walk.gif") == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "5"], "two faces"),
        (["--count", 1], "a larger count"),
        (["--frames", 1], "--frames"),
        (["--frames", 3, "--count", 4], "fewer than the 4 faces"),
        (["--fps", 0], "--fps"),
        (["--fps", 101], "--fps"),
        (["--fps", 60], "at most 50"),
        (["-o", "walk.avi"], "no film ends in .avi"),
        (["--seeds", "1,2", "--count", 3], "--seeds"),
        (["--resolution", 64], "draws 16 px"),
        (["--blend", "4-8"], "--blend is for two models"),
        (["--blend", "4-9"], "no range of resolutions"),
        (["--blend", "8-4"], "no range of resolutions"),
        (["--previews", "--seeds", "1"], "leave SEEDS out"),
        (["--previews", "--frames", 60], "leave FRAMES out"),
        (["--previews", "--scale", 2], "leave SCALE out"),
        (["--scale", 65], "--scale"),
    ],
)
def test_what_interpolate_refuses(
    arguments: list[object],
    words: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(model, *arguments) == 2
    output = capsys.readouterr()
    assert words in output.err
    assert output.out == ""
    assert not list(tmp_path.iterdir())


# From model to model


@pytest.fixture(scope="module")
def tuned(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the model's architecture, with other weights."""
    config = json.loads((model / "config.json").read_text())
    weights = {
        name: value + 0.5 * torch.randn(value.shape, generator=stream(name))
        for name, value in loaded().generator.state_dict().items()
    }
    folder = tmp_path_factory.mktemp("tuned") / "stage-0016"
    write_folder(folder, {"generator_ema": weights}, config)
    return folder


def test_from_one_model_to_the_other_and_back_at_the_same_faces(
    model: Path, tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "over"
    assert run(model, tuned, "--seeds", "5,1,9,2", "--frames", 4, "--scale", 1, "--json", "-o", film) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["model2"], told["blend"], told["frames"]) == (str(model), str(tuned), [4, 16], 4)
    frames = [np.asarray(Image.open(film / f"frame-{number:04d}.png")).astype(int) for number in range(4)]
    sheets = [
        grid(list(draw(load_generator(folder), latents_of([5, 1, 9, 2], loaded().generator.latent_dim))))
        for folder in (model, tuned)
    ]
    assert np.abs(frames[0] - sheets[0]).max() <= 1
    assert np.abs(frames[2] - sheets[1]).max() <= 1
    assert np.array_equal(frames[1], frames[3])
    assert np.abs(frames[1] - frames[0]).mean() > 3
    assert np.abs(frames[1] - frames[2]).mean() > 3


def test_only_some_resolutions_go_over(model: Path, tuned: Path, tmp_path: Path) -> None:
    film = tmp_path / "over"
    assert run(model, tuned, "--count", 1, "--frames", 2, "--blend", "8-16", "--scale", 1, "-o", film) == 0
    shown = np.asarray(Image.open(film / "frame-0001.png")).astype(int)
    first, second = load_generator(model), load_generator(tuned)
    expected = next(draw(blend(first, second, 1.0, lowest=8), latents_of([0], first.generator.latent_dim)))
    assert np.abs(shown - expected).max() <= 1
    assert run(model, tuned, "--blend", "32-64", "-o", film) == 2


def test_models_of_two_architectures_have_no_way_between_them(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = save_model(tmp_path / "models" / "stage-0008", 8)
    assert run(model, other, "-o", tmp_path / "over.gif") == 4
    assert "resolution is 16 and 8" in capsys.readouterr().err
    assert not (tmp_path / "over.gif").exists()


# A run's previews


def test_the_film_of_a_run_is_its_previews_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run" / "previews"
    folder.mkdir(parents=True)
    small = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
    pictures = {0: small, 10**9: np.full((8, 8, 3), 200, np.uint8), 999_999_999: np.full((5, 5, 3), 90, np.uint8)}
    for images, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"images-{images:09d}.png")
    Image.fromarray(small).save(folder / "real.png")
    film = tmp_path / "run.apng"
    assert run(tmp_path / "run", "--previews", "-o", film, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["frames"], told["fps"]) == (3, 5)
    assert [Path(name).name for name in told["previews"]] == [f"images-{at:09d}.png" for at in (0, 999_999_999, 10**9)]
    shown, durations = read_back(film)
    assert durations == [200.0] * 3
    assert np.array_equal(shown[0], small.repeat(2, axis=0).repeat(2, axis=1))
    assert (shown[1] == 90).all()
    assert (shown[2] == 200).all()
    assert run(tmp_path / "run", "--previews", "--fps", 10, "-o", film) == 0
    assert read_back(film)[1] == [100.0] * 3


def test_a_run_without_previews_or_with_a_damaged_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--previews", "-o", tmp_path / "run.gif") == 4
    assert "no previews here" in capsys.readouterr().err
    (tmp_path / "previews").mkdir()
    (tmp_path / "previews" / "images-000000000.png").write_bytes(b"damaged")
    assert run(tmp_path, "--previews", "-o", tmp_path / "run.gif") == 4
    assert "cannot be read" in capsys.readouterr().err
