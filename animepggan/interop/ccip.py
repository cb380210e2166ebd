"""CCIP, a network that was trained to tell drawn characters apart: `--backbone ccip` of `data curate` and `data check`.

The weights are deepghs' (https://huggingface.co/deepghs/ccip_onnx, license OpenRAIL), 150 MB as ONNX, fetched once from
the hub at a fixed commit and run by onnxruntime (extra `ccip`). Model, size and preprocessing are those of
`imgutils/metrics/ccip.py` in https://github.com/deepghs/imgutils at commit 525c042e8b14de7d0159c2fae05ad89786be7174:
`ccip_batch_extract_features` resizes to 384 x 384 with Pillow's bilinear filter, divides by 255, normalizes by CLIP's
mean and deviation, and reads `output` [n, 768] for `input` [n, 3, 384, 384].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from animepggan import hub
from animepggan.errors import ModelError

REPO, COMMIT = "deepghs/ccip_onnx", "3ba23ac72d7d2f381ece6399e2dda0a850d0e089"
VARIANT = "ccip-caformer-24-randaug-pruned"
FILE = "model_feat.onnx"
SIZE = 384  # pixels a side
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

_BATCH = 8  # pictures that the network sees at once


@dataclass(frozen=True)
class Ccip:
    """The network, opened."""

    session: Any = field(repr=False, compare=False)
    size: int = SIZE  # pixels a side of what it sees

    @property
    def label(self) -> str:
        """One line that says which backbone this is."""
        return f"{VARIANT} at {self.size} px from hub:{REPO}@{COMMIT[:12]}"

    def describe(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The embeddings of uint8 [n, h, w, 3]: float32 [n, 768], each of length one, since CCIP compares by cosine."""
        parts = [self._embed(pictures[start : start + _BATCH]) for start in range(0, len(pictures), _BATCH)]
        found = np.concatenate(parts)
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), np.float32)

    def _embed(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        side = (self.size, self.size)
        resized = [Image.fromarray(picture).resize(side, Image.Resampling.BILINEAR) for picture in pictures]
        values = (np.stack([np.asarray(each) for each in resized]) / 255 - MEAN) / DEVIATION
        (found,) = self.session.run(["output"], {"input": values.transpose(0, 3, 1, 2).astype(np.float32)})
        return np.asarray(found, np.float32)


def open_ccip(device: torch.device | str = "cpu") -> Ccip:
    """Fetch CCIP, or find it in the cache, and open it. Raises ModelError where onnxruntime is missing or the file is
    damaged, HubError where it cannot be had.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError(
            f'CCIP is run by a package that is not installed here ({error.name})\npip install "animepggan[ccip]"'
        ) from error
    local = hub.fetch(f"hub:{REPO}@{COMMIT}:{VARIANT}", allow_patterns=(FILE,), wanted=FILE)
    wanted = ["CUDAExecutionProvider"] if torch.device(device).type == "cuda" else []
    there = onnxruntime.get_available_providers()
    try:
        providers = [name for name in (*wanted, "CPUExecutionProvider") if name in there]
        return Ccip(onnxruntime.InferenceSession(str(local.path / FILE), providers=providers))
    except Exception as error:  # onnxruntime's errors have no common class, and all mean that the file is no such model
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelError(f"{local.path / FILE}: cannot be opened: {reason}") from error
