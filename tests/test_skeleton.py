"""Joint sets: their names fit together."""

from __future__ import annotations

import pytest

from plausibody.models.skeleton import BONES, COCO17, H36M17, LSP14, SMPL24, indices, mirror

SETS = {"SMPL24": SMPL24, "COCO17": COCO17, "H36M17": H36M17, "LSP14": LSP14}


@pytest.mark.parametrize("name", SETS)
def test_sets_have_as_many_joints_as_their_names_say(name: str) -> None:
    assert len(SETS[name]) == len(set(SETS[name])) == int(name[-2:])


@pytest.mark.parametrize("name", SETS)
def test_mirroring_twice_changes_nothing(name: str) -> None:
    places = mirror(SETS[name])
    assert [places[place] for place in places] == list(range(len(places)))
    for joint, place in zip(SETS[name], places, strict=True):
        assert joint.replace("left", "right") == SETS[name][place].replace("left", "right")
        assert (place == SETS[name].index(joint)) == ("left" not in joint and "right" not in joint)


def test_places_of_names() -> None:
    assert indices(["nose", "right_ankle"], COCO17) == [0, 16]
    assert set(LSP14) <= set(H36M17)
    with pytest.raises(ValueError, match="tail"):
        indices(["tail"], COCO17)


def test_bones_join_key_points_and_have_a_mirror_image() -> None:
    assert all(name in COCO17 for bone in BONES for name in bone)
    swap = {name: COCO17[place] for name, place in zip(COCO17, mirror(COCO17), strict=True)}
    bones = {frozenset(bone) for bone in BONES}
    assert bones == {frozenset(swap[name] for name in bone) for bone in bones}
