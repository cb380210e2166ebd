"""`--backbone ccip`, with a stand-in for its file: the mean of each color. Nothing is fetched."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from animepggan.cli import main
from animepggan.data import describer
from animepggan.errors import ModelError
from animepggan.interop import ccip

PICTURES = np.random.default_rng(0).integers(0, 256, (11, 64, 64, 3), dtype=np.uint8)


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A protobuf message of (number, value); numbers stay below 128 for a byte each."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += bytes([number << 3]) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            out += bytes([number << 3 | 2]) + varint(len(data)) + data
    return out


def varint(value: int) -> bytes:
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def onnx_of_means() -> bytes:
    """An ONNX file with CCIP's names: `output` [n, 3] is the mean of `input` [n, 3, 384, 384] over its places."""

    def tensor(name: str, *sides: int) -> bytes:
        shape = message((1, message((2, "n"))), *((1, message((1, side))) for side in sides))
        return message((1, name), (2, message((1, message((1, 1), (2, shape))))))

    pool = message((1, "input"), (2, "pooled"), (4, "GlobalAveragePool"))
    flat = message((1, "pooled"), (2, "output"), (4, "Flatten"))
    graph = message((1, pool), (1, flat), (2, "means"), (11, tensor("input", 3, 384, 384)), (12, tensor("output", 3)))
    return message((1, 8), (8, message((1, ""), (2, 13))), (7, graph))


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file as the hub's cache holds it at the pinned commit."""
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / f"models--{ccip.REPO.replace('/', '--')}"
    path = repository / "snapshots" / ccip.COMMIT / ccip.VARIANT / ccip.FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(onnx_of_means())
    return path


def test_pictures_are_shown_as_the_authors_show_them(cached: Path) -> None:
    network = describer("ccip")
    assert (network.size, network.label.rpartition("@")[2]) == (384, ccip.COMMIT[:12])
    small = [np.asarray(Image.fromarray(picture).resize((384, 384), Image.Resampling.BILINEAR)) for picture in PICTURES]
    means = np.stack([(pixels / 255).mean(axis=(0, 1)) for pixels in small])
    expected = (means - [0.48145466, 0.4578275, 0.40821073]) / [0.26862954, 0.26130258, 0.27577711]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(network.describe(PICTURES), expected, atol=1e-4)


def test_a_damaged_file_is_named(cached: Path) -> None:
    cached.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match=ccip.FILE):
        describer("ccip")


def test_without_onnxruntime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"animepggan\[ccip\]"):
        describer("ccip")


def test_curate_and_check_take_it(cached: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "faces").mkdir()
    for index, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / "faces" / f"{index}.png")
    for verb in ("curate", "check"):
        main(["data", verb, str(tmp_path / "faces"), "--backbone", "ccip", "-o", str(tmp_path / verb), "--json"])
        assert json.loads(capfd.readouterr().out)["backbone"].startswith(ccip.VARIANT)
