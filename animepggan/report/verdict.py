"""What the figures of `evaluate` mean for the person who trained the model, in a sentence or two."""

from __future__ import annotations

from animepggan.metrics.memorization import EXPECTED
from animepggan.metrics.quality import Measures

COPYING = 5 * EXPECTED
"""Share of copies from which on a model is said to repeat its pictures: five times what new pictures have by chance."""
COLLAPSED = 0.25  # MS-SSIM above the real pictures' own: collapsed runs had 0.5 to 0.85 where these have 0.25
EARLY, GOOD = 0.2, 0.5
"""Coverage: in `scripts/results/transfer.jsonl` models of rough faces had 0.15 or less, those of whole ones 0.5."""
LOW_PRECISION = 0.05


def verdict(measures: Measures) -> str:
    """Whether the model is good, too early, copying or collapsed, and why precision may be near 0 all the same."""
    copied, alike, own = measures.copied_share, measures.ms_ssim, measures.ms_ssim_reference
    if alike is not None and own is not None and alike > own + COLLAPSED:
        return (
            f"Collapsed: the pictures are nearly all one (MS-SSIM {alike:.2f}, the real ones' is {own:.2f}). "
            "Take an earlier checkpoint, and train on from it at half the learning rate."
        )
    if copied is not None and copied >= COPYING and round(copied * measures.n) > 2:
        return (
            f"Copying: {copied:.0%} of the pictures repeat a training picture. Take an earlier checkpoint, or train on "
            "more pictures of her; sheet.html shows which."
        )
    if measures.coverage is None:
        return "Without a backbone no figure says whether the pictures are good: look at them."
    if measures.coverage < EARLY:
        told = (
            f"Too early: only {measures.coverage:.0%} of the real pictures have one like it among the drawn. "
            "Train on while KID falls."
        )
    elif measures.coverage < GOOD:
        told = (
            f"On its way: {measures.coverage:.0%} of the real pictures have one like it among the drawn. "
            "Train on while KID falls."
        )
    else:
        told = f"Good: {measures.coverage:.0%} of the real pictures have one like it among the drawn, and " + (
            "copies are no more than chance." if copied is not None else "copies were not looked for."
        )
    if measures.precision is not None and measures.precision < LOW_PRECISION:
        told += (
            f" Precision {measures.precision:.2f} can stand beside good pictures: it counts those as near to a real "
            "one as real ones are to each other, and the backbone sees soft lines and textures that the eye forgives. "
            "It rises last."
        )
    return told
