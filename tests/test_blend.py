"""Blending two generators: its ends are the two, a layer's resolution decides, and misfits are named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from runs import recipe

from animepggan.checkpoint import Loaded
from animepggan.errors import ModelError
from animepggan.networks import Architecture, build_generator
from animepggan.sampling.blend import blend, there_and_back
from animepggan.training.state import architecture_of


def loaded(seed: int, alpha: float = 1.0, **changes: object) -> Loaded:
    torch.manual_seed(seed)
    architecture: Architecture = {**architecture_of(recipe(), 16), **changes}  # type: ignore[typeddict-item]
    return Loaded(build_generator(architecture).eval(), alpha, {"architecture": architecture}, Path(f"{seed}"))


def picture(model: Loaded) -> torch.Tensor:
    latents = torch.randn(2, model.generator.latent_dim, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return model.generator(latents, model.alpha)


def test_the_ends_are_the_two_models_and_the_middle_is_neither() -> None:
    first, second = loaded(1, alpha=0.5), loaded(2)
    before = picture(first)
    assert torch.equal(picture(blend(first, second, 0.0)), before)
    torch.testing.assert_close(picture(blend(first, second, 1.0)), picture(second))
    middle = blend(first, second, 0.5)
    assert middle.alpha == 0.75
    assert not torch.allclose(picture(middle), picture(first), atol=1e-3)
    assert torch.equal(picture(first), before), "blending leaves its models alone"


def test_the_layers_of_some_resolutions_only() -> None:
    first, second = loaded(1), loaded(2)
    high = dict(blend(first, second, 1.0, lowest=8).generator.named_parameters())
    ours, theirs = dict(first.generator.named_parameters()), dict(second.generator.named_parameters())
    names = {4: "blocks.4.conv1.weight", 8: "blocks.8.conv0.weight", 16: "to_rgb.16.weight"}
    assert torch.equal(high[names[4]], ours[names[4]])
    torch.testing.assert_close(high[names[8]], theirs[names[8]])
    torch.testing.assert_close(high[names[16]], theirs[names[16]])
    low = dict(blend(first, second, 1.0, highest=8).generator.named_parameters())
    torch.testing.assert_close(low[names[8]], theirs[names[8]])
    assert torch.equal(low[names[16]], ours[names[16]])


def test_what_acts_on_the_latent_goes_with_the_lowest_resolution() -> None:
    first, second = loaded(1, miner=True), loaded(2, miner=True)
    theirs = dict(second.generator.named_parameters())["miner.dense0.weight"]
    ours = dict(first.generator.named_parameters())["miner.dense0.weight"]
    for lowest, expected in ((4, theirs), (8, ours)):
        blended = dict(blend(first, second, 1.0, lowest=lowest).generator.named_parameters())
        torch.testing.assert_close(blended["miner.dense0.weight"], expected)
    with pytest.raises(ModelError, match="miner is True and False"):
        blend(first, loaded(2, miner=False), 0.5)


def test_a_misfit_is_named() -> None:
    with pytest.raises(ModelError, match=r"fmap_max is .* and 12"):
        blend(loaded(1), loaded(2, fmap_max=12), 0.5)


def test_a_film_begins_at_the_first_and_turns_at_the_second() -> None:
    shares = list(there_and_back(10))
    assert shares[0] == 0
    assert max(shares) == shares[5] == 1
    assert shares[1:5] == pytest.approx(shares[:5:-1])
    assert shares[1] < shares[2] - shares[1], "slow at the ends"
