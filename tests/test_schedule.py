"""The schedule is arithmetic on images_seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animepggan.errors import RecipeError
from animepggan.schedule import Schedule, at_resolution


def schedule(**changes: object) -> Schedule:
    arguments: dict[str, object] = {
        "first_resolution": 4,
        "last_resolution": 16,
        "fade_kimg": 1.0,
        "stabilize_kimg": {4: 2.0, "default": 1.0},
        "batch_size": {4: 32, 8: 16, "default": 8},
        "learning_rate": {16: 0.002, "default": 0.001},
        **changes,
    }
    return Schedule(**arguments)  # type: ignore[arg-type]


def test_stages_double_and_the_first_has_no_fade() -> None:
    stages = schedule().stages
    assert [stage.resolution for stage in stages] == [4, 8, 16]
    assert [[phase.name for phase in stage.phases] for stage in stages] == [
        ["stabilize"],
        ["fade", "stabilize"],
        ["fade", "stabilize"],
    ]


def test_phases_last_whole_batches() -> None:
    # 2000 images in batches of 32 are 63 batches; 1000 in batches of 16 are 63; in batches of 8 just 125.
    assert [(phase.start, phase.end) for phase in schedule().phases] == [
        (0, 2016),
        (2016, 3024),
        (3024, 4032),
        (4032, 5032),
        (5032, 6032),
    ]


def test_what_holds_when() -> None:
    plan = schedule()
    moment = plan.at(0)
    assert (moment.resolution, moment.phase.name, moment.alpha, moment.batch_size) == (4, "stabilize", 1.0, 32)
    assert plan.at(2016).alpha == 0.0
    assert plan.at(2016).resolution == 8
    assert plan.at(2016 + 504).alpha == 0.5
    assert plan.at(3024).alpha == 1.0
    assert plan.at(4032).learning_rate == 0.002
    assert plan.at(plan.total_images).resolution == 16
    assert plan.at(plan.total_images).alpha == 1.0


def test_a_stage_may_end_in_its_fade() -> None:
    plan = schedule(stabilize_kimg={4: 1.0, "default": 0})
    assert plan.at(plan.total_images).alpha == 1.0
    assert plan.at(plan.total_images - 8).alpha < 1.0


def test_fine_tuning_starts_at_its_resolution_stabilised() -> None:
    plan = schedule(first_resolution=16)
    assert [(phase.resolution, phase.name) for phase in plan.phases] == [(16, "stabilize")]


def test_the_learning_rate_decays_to_0_over_the_end_of_the_run() -> None:
    plan = schedule(decay_kimg=1.0)
    flat, total = schedule(), plan.total_images
    assert plan.at(total - 1000).learning_rate == flat.at(total - 1000).learning_rate
    assert plan.at(total - 500).learning_rate == pytest.approx(flat.at(total - 500).learning_rate / 2)
    last = plan.phases[-1].batch_size
    assert 0 < plan.at(total - last).learning_rate == pytest.approx(flat.at(total).learning_rate * last / 1000)


def test_learning_rate_ramp_never_starts_at_0() -> None:
    plan = schedule(ramp_kimg=1.0)
    rates = [plan.at(images).learning_rate for images in (0, 480, 992, 1984)]
    assert rates == [pytest.approx(0.001 * share) for share in (0.032, 0.512, 1.0, 1.0)]


def test_stage_ends_are_known() -> None:
    plan = schedule()
    ended = plan.stage_ending(4016, 4032)
    assert ended is not None
    assert ended.resolution == 8
    assert plan.stage_ending(4032, 4048) is None
    assert plan.stage_ending(3008, 3024) is None
    assert plan.stage_ending(4020, 4036) == ended  # batches out of step with the schedule


def test_missing_values_are_named() -> None:
    with pytest.raises(RecipeError, match=r"schedule\.batch_size has no value for resolution 8"):
        schedule(batch_size={4: 16, 16: 16})
    with pytest.raises(RecipeError, match="resolution 8 has no images"):
        schedule(fade_kimg={8: 0, "default": 1}, stabilize_kimg={8: 0, "default": 1})
    assert at_resolution({4: 1, "default": 2}, 4, "key") == 1


@given(
    st.integers(2, 7),
    st.floats(0, 3),
    st.floats(0.001, 3),
    st.dictionaries(st.sampled_from([4, 8, 16, 32]), st.integers(1, 64)),
)
def test_walking_step_by_step_meets_every_boundary(
    power: int, fade: float, stabilize: float, batches: dict[int | str, int]
) -> None:
    plan = schedule(
        last_resolution=1 << power, fade_kimg=fade, stabilize_kimg=stabilize, batch_size={"default": 16, **batches}
    )
    images, ended = 0, []
    while images < plan.total_images:
        moment = plan.at(images)
        assert moment.phase.start <= images < moment.phase.end
        assert 0 <= moment.alpha <= 1
        images += moment.batch_size
        if (stage := plan.stage_ending(moment.images_seen, images)) is not None:
            ended.append(stage.resolution)
    assert images == plan.total_images
    assert ended == [stage.resolution for stage in plan.stages]


def test_a_slowed_schedule_differs_in_its_learning_rates_alone() -> None:
    plan = schedule(ramp_kimg=1.0)
    slowed = plan.slowed(0.5).slowed(0.5)
    for images in (0, 500, plan.total_images // 2, plan.total_images):
        one, other = plan.at(images), slowed.at(images)
        assert other.learning_rate == one.learning_rate / 4
        assert (other.phase, other.alpha) == (one.phase, one.alpha)
    assert slowed.total_images == plan.total_images
