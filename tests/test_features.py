"""Backbones from files, at tiny size; nothing is fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from animepggan import features
from animepggan.errors import ModelError
from animepggan.features import ARCHITECTURE, Backbone, open_backbone

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)


def weights(folder: Path, architecture: str = "test_resnet", *, named: bool = True) -> Path:
    torch.manual_seed(0)
    path = folder / "weights.safetensors"
    network = timm.create_model(architecture, pretrained=False)
    metadata = {ARCHITECTURE: architecture} if named else None
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path, metadata=metadata)
    return path


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return open_backbone(str(weights(tmp_path_factory.mktemp("backbone")))).at(64)


def test_it_says_what_it_is(backbone: Backbone) -> None:
    assert backbone.architecture == "test_resnet"
    assert backbone.origin == "weights.safetensors"
    assert len(backbone.revision) == 64
    assert backbone.label == f"test_resnet at 64 px from weights.safetensors@{backbone.revision[:12]}"


def test_embeddings_do_not_depend_on_the_batch(backbone: Backbone) -> None:
    whole = backbone.embed(PICTURES)
    assert whole.shape == (3, backbone.dimension)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(backbone.embed(PICTURES, batch_size=1), whole, rtol=1e-3, atol=1e-5)
    assert not np.allclose(whole[0], whole[1])


def test_a_description_has_four_parts_of_length_one(backbone: Backbone) -> None:
    described = backbone.describe(PICTURES)
    np.testing.assert_allclose((described**2).sum(axis=1), 4, rtol=1e-4)


def test_a_transformer_of_large_pictures_is_opened_for_smaller_ones_and_keeps_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "SIZE", 96)
    opened = open_backbone(str(weights(tmp_path, "test_vit")))
    assert (opened.size, opened.fixed, opened.at(64)) == (96, True, opened)
    assert opened.embed(PICTURES).shape == (3, opened.dimension)
    assert np.isfinite(opened.describe(PICTURES)).all()


def test_a_file_without_an_architecture_takes_it_from_the_name(tmp_path: Path) -> None:
    path = weights(tmp_path, named=False)
    with pytest.raises(ModelError, match="does not name the architecture"):
        open_backbone(str(path))
    assert open_backbone(f"test_resnet={path}").architecture == "test_resnet"


@pytest.mark.parametrize("spec", ["nonsense", "resnet18", "x.pth", "test_resnet=x.bin"])
def test_what_is_no_backbone_is_said(spec: str) -> None:
    with pytest.raises(ModelError, match="is no backbone"):
        open_backbone(spec)


def test_missing_damaged_and_unfit_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        open_backbone(str(tmp_path / "gone.safetensors"))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x10\0\0\0\0\0\0\0{not json at all")
    with pytest.raises(ModelError, match="damaged"):
        open_backbone(str(damaged))
    path = weights(tmp_path, named=False)
    with pytest.raises(ModelError, match="do not fit"):
        open_backbone(f"test_vit={path}")
    with pytest.raises(ModelError, match="knows no architecture"):
        open_backbone(f"no_such_net={path}")


def test_a_weight_that_is_missing_is_noticed(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", pretrained=False).state_dict()
    del network["layer1.0.conv1.weight"]
    save_file({key: value.contiguous() for key, value in network.items()}, tmp_path / "part.safetensors")
    with pytest.raises(ModelError, match="do not fit"):
        open_backbone(f"test_resnet={tmp_path / 'part.safetensors'}")


def test_pictures_of_another_kind_are_our_mistake(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="uint8 pictures"):
        backbone.embed(PICTURES.astype(np.float32))  # type: ignore[arg-type]
