"""A seed is a face, truncation pulls toward the mean face, and `animepggan sample` writes what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models import generator, loaded, save_model
from networks import ARTICLE, tiny
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from animepggan import cli
from animepggan.checkpoint import Loaded
from animepggan.disk import replacing
from animepggan.errors import ModelError, RecipeError
from animepggan.networks import Generator
from animepggan.sampling.draw import draw, mean_features, to_uint8
from animepggan.sampling.fold import WideConvolution, fold
from animepggan.sampling.grid import columns_for, grid
from animepggan.sampling.latents import latent_of, latents_of
from animepggan.sampling.seeds import SEED_LIMIT, parse_seeds, seeds_from


def pictures(model: Loaded, seeds: Any, **options: Any) -> NDArray[np.uint8]:
    return np.stack(list(draw(model, latents_of(seeds, model.generator.latent_dim), **options)))


def furthest(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


# Seeds and latents


def test_seeds_as_people_write_them() -> None:
    assert parse_seeds("1,5,9") == [1, 5, 9]
    assert parse_seeds(" 9, 3-6 ,1") == [9, 3, 4, 5, 6, 1]
    assert parse_seeds("7-7") == [7]
    assert parse_seeds(str(SEED_LIMIT - 1)) == [SEED_LIMIT - 1]


@pytest.mark.parametrize(
    "text", ["", ",", "1,,2", "a", "1.5", "-1", "3-", "7-3", "1-2-3", "²", str(SEED_LIMIT), "0-9999999999", "0-1000000"]
)
def test_what_is_no_list_of_seeds(text: str) -> None:
    with pytest.raises(RecipeError, match="--seeds"):
        parse_seeds(text)


def test_seeds_from_a_first_one() -> None:
    assert list(seeds_from(42, 3)) == [42, 43, 44]
    assert list(seeds_from(SEED_LIMIT - 1, 1)) == [SEED_LIMIT - 1]
    for first, count in [(SEED_LIMIT, 1), (SEED_LIMIT - 1, 2), (-1, 2), (0, 0)]:
        with pytest.raises(RecipeError):
            seeds_from(first, count)


def test_seeds_end_where_torch_repeats_itself() -> None:
    assert not torch.equal(latent_of(SEED_LIMIT - 1, 16), latent_of(0, 16))
    assert torch.equal(latent_of(0, 16), latent_of(SEED_LIMIT, 16))


def test_a_latent_is_its_seeds_and_nothing_elses() -> None:
    alone = latent_of(42, 512)
    torch.manual_seed(7)
    assert torch.equal(list(latents_of(range(40, 45), 512))[2], alone)
    assert alone.shape == (512,)
    assert alone.dtype == torch.float32
    assert not torch.equal(latent_of(43, 512), alone)
    # Published faces depend on it: these numbers must never change.
    assert torch.allclose(alone[:3], torch.tensor([1.9269, 1.4873, 0.9007]), atol=1e-4)


# Drawing


@pytest.mark.parametrize(
    ("changes", "alpha"), [({}, 1.0), ({}, 0.3), ({k: v for k, v in ARTICLE.items() if k != "fmap_base"}, 0.7)]
)
def test_drawing_is_the_generators_own_function(changes: dict[str, Any], alpha: float) -> None:
    model = loaded(alpha=alpha, **changes)
    latents = torch.stack(list(latents_of(range(20), model.generator.latent_dim)))
    expected = to_uint8(model.generator(latents, alpha))
    assert furthest(pictures(model, range(20)), expected) <= 1
    assert expected.std() > 10


def test_folding_leaves_the_generator_as_it_was() -> None:
    model = generator(tiny())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    latents = torch.stack(list(latents_of(range(4), model.latent_dim)))
    assert torch.allclose(fold(model, torch.float32)(latents), model(latents), atol=1e-5)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("channels", [(5, 7), (160, 128)])
def test_wide_convolutions_are_the_plain_ones(channels: tuple[int, int]) -> None:
    """In float64 to its last digits: every place of a tile, edges and corners, tiles computed in one part or more."""
    out, into = channels
    torch.manual_seed(0)
    weight, bias = torch.randn(out, into, 3, 3).double(), torch.randn(out).double()
    for pictures, height, width in ((2, 4, 4), (2, 8, 12), (9, 16, 16), (1, 24, 64)):
        features = torch.randn(pictures, into, height, width).double()
        expected = functional.conv2d(features, weight, bias, padding=1)
        assert torch.allclose(WideConvolution(weight, bias)(features), expected, rtol=0, atol=1e-10)
        expected = functional.conv2d(functional.interpolate(features, scale_factor=2), weight, bias, padding=1)
        assert torch.allclose(WideConvolution(weight, bias, up=True)(features), expected, rtol=0, atol=1e-10)


def kinds(folded: Generator) -> list[str]:
    return [type(layer).__name__ for name, layer in folded.named_modules() if "conv" in name.split(".")[-1]]


@pytest.mark.parametrize(
    ("changes", "alpha"), [({}, 1.0), ({}, 0.4), ({"norm": "before", "norm_first": False, "norm_latent": False}, 1.0)]
)
def test_full_width_is_drawn_to_five_digits(changes: dict[str, Any], alpha: float) -> None:
    """256 channels at 64 px: every kind of layer there is."""
    model = generator(tiny(64, latent_dim=64, fmap_base=8192, fmap_max=256, **changes))
    latents = torch.stack(list(latents_of(range(2), 64)))
    with torch.inference_mode():
        expected = model(latents, alpha)
        for dtype, allowed in ((torch.float32, 1e-5), (torch.bfloat16, 0.03)):
            folded = fold(model, dtype)
            drawn = folded(latents.to(dtype), alpha).float()
            assert (drawn - expected).norm() <= allowed * expected.norm()
            assert kinds(folded).count("WideConvolution") == (6 if dtype == torch.float32 else 0)


def test_narrow_layers_are_folded_as_they_are() -> None:
    assert set(kinds(fold(generator(tiny(64)), torch.float32))) == {
        "LatentToFeatures",
        "EqualizedConv2d",
        "ConvTranspose2d",
    }


def test_values_become_bytes_by_rounding_and_cutting_off() -> None:
    values = torch.tensor([-9.0, -1.0, -0.999, 0.0, 0.5, 0.999, 1.0, 9.0]).reshape(1, 1, 1, 8).expand(1, 3, 1, 8)
    # (x + 1) * 127.5; 127.5 rounds to even
    assert to_uint8(values)[0, 0, :, 0].tolist() == [0, 0, 0, 128, 191, 255, 255, 255]
    channels = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1)
    assert to_uint8(channels).tolist() == [[[[0, 128, 255]]]]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_is_the_same_face_whatever_the_count(precision: str) -> None:
    model = loaded()
    many = pictures(model, range(21), precision=precision)  # one chunk of 16 and one that is not full
    allowed = 1 if precision == "fp32" else 0
    for seeds in ([20], [3, 20, 3], range(15, 21)):
        for seed, picture in zip(seeds, pictures(model, seeds, precision=precision), strict=True):
            assert furthest(picture, many[seed]) <= allowed


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_large_pictures_are_the_generators_own_too(precision: str) -> None:
    """Of 256 px and a chunk and a half: their higher blocks are computed one by one."""
    model = loaded(256, alpha=0.6, fmap_base=512)
    drawn = pictures(model, range(10), precision=precision)
    latents = torch.stack(list(latents_of(range(10), model.generator.latent_dim)))
    expected = to_uint8(model.generator(latents, 0.6))
    assert np.abs(drawn.astype(int) - expected).mean() < (0.01 if precision == "fp32" else 2)
    for seed in (0, 9):
        alone = pictures(model, [seed], precision=precision)[0]
        assert furthest(alone, drawn[seed]) <= (1 if precision == "fp32" else 0)


def test_bf16_draws_nearly_the_same_pictures() -> None:
    model = loaded()
    full, half = pictures(model, range(8)), pictures(model, range(8), precision="bf16")
    assert 0 < np.abs(full.astype(int) - half.astype(int)).mean() < 2
    assert next(model.generator.parameters()).dtype == torch.float32


def test_pictures_are_drawn_as_they_are_asked_for() -> None:
    model = loaded()
    asked = []

    def endless() -> Any:
        for seed in range(10**9):
            asked.append(seed)
            yield latent_of(seed, model.generator.latent_dim)

    drawn = draw(model, endless())
    assert next(drawn).shape == (16, 16, 3)
    assert len(asked) <= 8


def diversity(drawn: NDArray[np.uint8]) -> float:
    """The mean distance of two pictures."""
    return float(np.mean([np.abs(a.astype(float) - b).mean() for a, b in combinations(drawn, 2)]))


def test_truncation_lowers_diversity_and_1_changes_nothing() -> None:
    model = loaded()
    untouched = pictures(model, range(12))
    assert np.array_equal(pictures(model, range(12), truncation=1.0), untouched)
    spread = [diversity(pictures(model, range(12), truncation=amount)) for amount in (0.0, 0.5, 1.0, 1.5)]
    assert spread[0] == 0
    assert spread[1] < 0.9 * spread[2]
    assert spread[2] < spread[3]


def test_truncation_pulls_the_first_features_toward_their_mean() -> None:
    model = loaded()
    latents = torch.stack(list(latents_of(range(4096), model.generator.latent_dim)))
    mean = model.generator.first_features(latents).double().mean(dim=0).float()
    assert torch.allclose(mean_features(model.generator)[0], mean, atol=1e-6)
    features = model.generator.first_features(latents[:3])
    pulled = model.generator.up_to(4, mean + 0.5 * (features - mean))
    expected = to_uint8(model.generator.from_block(4, pulled))
    assert furthest(pictures(model, range(3), truncation=0.5), expected) <= 1


def test_a_smaller_resolution_is_the_mean_of_2x2_pixels() -> None:
    model = loaded()
    latents = torch.stack(list(latents_of(range(3), model.generator.latent_dim)))
    halves = functional.avg_pool2d(model.generator(latents), 2)
    assert furthest(pictures(model, range(3), resolution=8), to_uint8(halves)) <= 1
    assert furthest(pictures(model, range(3), resolution=4), to_uint8(functional.avg_pool2d(halves, 2))) <= 1
    assert np.array_equal(pictures(model, range(3), resolution=16), pictures(model, range(3)))


@pytest.mark.parametrize("resolution", [32, 12, 2, -4])
def test_a_resolution_that_the_model_has_not(resolution: int) -> None:
    with pytest.raises(RecipeError, match=str(resolution)):
        draw(loaded(), [], resolution=resolution)


def test_a_model_of_infinite_numbers_is_refused() -> None:
    model = loaded()
    model.generator.blocks["8"].conv1.bias[0] = float("nan")  # type: ignore[index, union-attr]
    with pytest.raises(ModelError, match=r"model\.safetensors.*not finite"):
        pictures(model, [0])


# The sheet


def test_columns_are_near_the_square_and_rows_full_where_they_can_be() -> None:
    assert [columns_for(count) for count in (1, 2, 3, 4, 6, 7, 8, 12, 13, 16, 32)] == [1, 2, 3, 2, 3, 3, 4, 4, 4, 4, 8]


def test_a_sheet_has_gaps_between_pictures_and_nothing_around() -> None:
    tiles = [np.full((8, 8, 3), value, dtype=np.uint8) for value in (10, 20, 30, 40, 50)]
    sheet = grid(tiles, columns=3)
    assert sheet.shape == (8 + 1 + 8, 3 * 8 + 2, 3)
    assert sheet[0, 0].tolist() == [10] * 3
    assert sheet[7, -1].tolist() == [30] * 3
    assert sheet[-1, 0].tolist() == [40] * 3
    assert sheet[-1, 16].tolist() == [50] * 3
    white = np.ones((17, 26), dtype=bool)
    for row, column in [(0, 0), (0, 9), (0, 18), (9, 0), (9, 9)]:
        white[row : row + 8, column : column + 8] = False
    assert np.array_equal((sheet == 255).all(axis=2), white)


def test_a_sheet_is_no_wider_than_its_pictures() -> None:
    tiles = [np.zeros((128, 128, 3), dtype=np.uint8)] * 2
    assert grid(tiles, columns=9).shape == (128, 128 + 2 + 128, 3)


# The command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("models") / "stage-0016")


def run(*arguments: object) -> int:
    return cli.main(["sample", *map(str, arguments)])


def test_sample_names_pictures_by_seed(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "samples"
    assert run(model, "--count", 3, "--seed", 42, "-o", out, "--truncation", 0.8) == 0
    files = [out / f"seed{seed:06d}.png" for seed in (42, 43, 44)]
    output = capsys.readouterr()
    assert output.out.splitlines() == [str(file) for file in files]
    assert str(model) in output.err
    assert sorted(out.iterdir()) == files
    expected = pictures(loaded(), [43], truncation=0.8)[0]
    with Image.open(files[1]) as image:
        assert furthest(np.asarray(image), expected) <= 1
        texts = image.info
    assert texts["seed"] == "43"
    assert texts["truncation"] == "0.8"
    assert texts["precision"] == "fp32"
    assert texts["model"] == "tiny/stage-0016"
    assert texts["images_seen"] == "1234"
    assert str(tmp_path) not in str(texts)


def test_drawing_in_bfloat16_warns_where_that_is_slow(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], bfloat16: Callable[[bool], None]
) -> None:
    def told(verb: str, name: str, *options: str) -> str:
        assert cli.main([verb, str(model), *options, "--count", "2", "-o", str(tmp_path / name)]) == 0
        return capsys.readouterr().err

    bfloat16(False)
    for verb, name in (("sample", "samples"), ("interpolate", "walk.gif")):
        assert told(verb, name, "--precision", "bf16").count("has no bfloat16") == 1
        assert "bfloat16" not in told(verb, name)
    bfloat16(True)
    assert "bfloat16" not in told("sample", "samples", "--precision", "bf16")


def test_sample_a_sheet_and_its_json(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--seeds", "5,1-3", "--grid", "--resolution", 8, "--precision", "bf16", "-o", tmp_path, "--json")
    assert run(model, *options, "--scale", 1) == 0
    assert json.loads(capsys.readouterr().out) == {
        "model": str(model),
        "files": [str(tmp_path / "grid.png")],
        "seeds": [5, 1, 2, 3],
        "resolution": 8,
        "truncation": 1.0,
        "precision": "bf16",
        "scale": 1,
    }
    assert [entry.name for entry in tmp_path.iterdir()] == ["grid.png"]
    with Image.open(tmp_path / "grid.png") as image:
        expected = grid(list(pictures(loaded(), [5, 1, 2, 3], resolution=8, precision="bf16")))
        assert furthest(np.asarray(image), expected) <= 1
        assert image.info["seeds"] == "5,1,2,3"
    assert run(model, "--grid", "--count", 3, "--columns", 1, "--scale", 1, "-o", tmp_path / "faces.png") == 0
    with Image.open(tmp_path / "faces.png") as image:
        assert image.size == (16, 3 * 16 + 2)


def test_a_sheet_is_enlarged_pixel_by_pixel_until_a_face_can_be_seen(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def drawn(name: str, *options: object) -> NDArray[np.uint8]:
        assert run(model, "--count", 4, *options, "-o", tmp_path / name) == 0
        return np.asarray(Image.open(tmp_path / name / ("grid.png" if "--grid" in options else "seed000002.png")))

    plain = drawn("plain", "--grid", "--scale", 1)
    assert np.array_equal(drawn("sheet", "--grid"), plain.repeat(8, axis=0).repeat(8, axis=1))  # 16 px to 128
    assert drawn("small", "--grid", "--resolution", 8).shape[0] == 16 * (2 * 8 + 1)
    alone = drawn("alone")
    assert alone.shape == (16, 16, 3)  # single pictures stay as they are
    assert np.array_equal(drawn("larger", "--scale", 3), alone.repeat(3, axis=0).repeat(3, axis=1))
    assert run(model, "--scale", 0) == 2
    assert "--scale" in capsys.readouterr().err


def test_sample_from_a_lone_weights_file(model: Path, tmp_path: Path) -> None:
    lone = tmp_path / "yui.safetensors"
    lone.write_bytes((model / "generator_ema.safetensors").read_bytes())
    assert run(lone, "--seeds", 7, "-o", tmp_path) == 0
    assert run(model, "--seeds", 7, "-o", tmp_path / "whole") == 0
    with Image.open(tmp_path / "seed000007.png") as alone, Image.open(tmp_path / "whole" / "seed000007.png") as whole:
        assert np.array_equal(np.asarray(alone), np.asarray(whole))
        assert alone.info["model"] == "yui.safetensors"


def test_sample_an_intermediate_stage_at_its_own_resolution_and_alpha(tmp_path: Path) -> None:
    faded = save_model(tmp_path / "images-000001234", resolution=8, alpha=0.25)
    assert run(faded, "--seeds", 7, "-o", tmp_path) == 0
    with Image.open(tmp_path / "seed000007.png") as image:
        assert furthest(np.asarray(image), pictures(loaded(8, alpha=0.25), [7])[0]) <= 1
        assert furthest(np.asarray(image), pictures(loaded(8), [7])[0]) > 1


def test_sample_without_a_model_takes_the_newest_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "runs" / "mine" / "checkpoints" / "stage-0016")
    assert run("--count", 1) == 0
    assert capsys.readouterr().out == f"{Path('samples') / 'seed000000.png'}\n"
    assert (tmp_path / "samples" / "seed000000.png").is_file()


def test_sample_where_nothing_was_trained_draws_from_the_base_in_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for count, model in enumerate(([], ["base"]), 1):
        assert run(*model, "--count", 1, "-o", f"{count}") == 0
        assert "model: base, which comes with animepggan (64 px) on cpu" in capsys.readouterr().err
    first, second = (Path(folder, "seed000000.png") for folder in "12")
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        assert image.size == (64, 64)
        assert image.info["model"] == "base"  # no path of this machine
    (tmp_path / "base").mkdir()
    assert run("./base", "--count", 1) == 4  # the folder here
    assert "no checkpoint and no run" in capsys.readouterr().err


def test_a_damaged_checkpoint_is_not_sampled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_model(tmp_path / "stage-0016")
    weights = folder / "generator_ema.safetensors"
    data = bytearray(weights.read_bytes())
    data[-5] ^= 0x40
    weights.write_bytes(data)
    assert run(folder, "--count", 1, "-o", tmp_path / "out") == 4
    assert "damaged" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--count", 0], "--count"),
        (["--seed", -1], "--seed"),
        (["--seed", SEED_LIMIT], "seeds go from 0 to"),
        (["--seeds", "1,x"], "'x' is not a seed"),
        (["--seeds", "1", "--count", 2], "--seeds"),
        (["--seeds", "1", "--seed", 0], "--seeds"),
        (["--truncation", "nan"], "truncation"),
        (["--truncation", 2.1], "truncation"),
        (["--columns", 2], "--grid"),
        (["--precision", "fp16"], "precision"),
        (["--resolution", 32], "draws 16 px"),
        (["--resolution", 10], "not a power of two"),
        (["-o", "faces.png"], "folder"),
    ],
)
def test_what_sample_refuses(
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
    assert len(output.err.strip().splitlines()) <= 3 + 1  # the model's line may stand before it
    assert output.out == ""
    assert not list(tmp_path.iterdir())


def test_an_output_folder_that_is_a_file(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("mine")
    assert run(model, "--count", 1, "-o", tmp_path / "taken") == 2
    assert "in the way" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "mine"


def test_sample_on_a_full_disk_keeps_what_is_there(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("a disk that is always full is a device of Linux")
    (tmp_path / "seed000001.png").write_bytes(b"an older picture")
    with pytest.raises(KeyError), replacing(tmp_path / "seed000001.png") as partial:
        raise KeyError  # to learn what it is called
    partial.symlink_to("/dev/full")
    assert run(model, "--seeds", "0,1", "-o", tmp_path) == 6
    assert "disk is full" in capsys.readouterr().err
    assert (tmp_path / "seed000001.png").read_bytes() == b"an older picture"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["seed000000.png", "seed000001.png"]


def test_sample_imports_neither_timm_nor_torchvision(model: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from animepggan import cli\n"
        f"assert cli.main(['sample', {str(model)!r}, '--count', '1', '-o', {str(tmp_path)!r}]) == 0\n"
        "heavy = {'timm', 'torchvision', 'huggingface_hub', 'av', 'tensorboard', 'scipy', 'sympy', 'torch._dynamo'}\n"
        "heavy |= {'animepggan.training', 'animepggan.recipe', 'animepggan.corpus.loader', 'pydantic', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.splitlines()[-1] == "[]"
