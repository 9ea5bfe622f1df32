"""What the labels of a whole data set have in common, and the numbers of everybody together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool
from torch import Tensor

from plausibody.evaluate.datasets.people import Dataset, LabelledPeople
from plausibody.evaluate.datasets.scoring import Scores
from plausibody.evaluate.distributions import STILL
from plausibody.evaluate.run import SUBSETS_BY_BUILD, SUBSETS_BY_FACING
from plausibody.evaluate.values import SEQUENCE, Attribute, Values
from plausibody.models.batches import in_batches

CHUNK = 256
"""People whose labels are looked through at a time."""


STEP = 1e-4
"""To what entries of rotations are rounded for the hash."""


@dataclass(frozen=True)
class Survey:
    """What the labels of everybody have in common, without pictures."""

    names: tuple[str, ...]
    genders: tuple[str, ...]
    attributes: Mapping[str, tuple[str, ...]]
    """Sequences among them."""
    bodies: bool
    """Whether bodies are labelled."""
    moving: Bool[Tensor, " joints"] | None
    """Which joints but the root have different rotations among the people."""
    digest: str
    """Hash of the labels."""

    def of(self, numbers: Sequence[int]) -> Survey:
        """Gives what tells these people from others; the rest stays as it is."""
        return replace(
            self,
            names=tuple(self.names[n] for n in numbers),
            genders=tuple(self.genders[n] for n in numbers),
            attributes={
                name: tuple(labels[n] for n in numbers) for name, labels in self.attributes.items()
            },
        )

    def said_genders(self) -> str:
        """Tells of which bodies the labels are."""
        if not self.bodies:
            return "no body (true)"
        counted = Counter(self.genders)
        return ", ".join(f"{gender} {n:,}" for gender, n in sorted(counted.items())) + " (true)"


def survey(dataset: Dataset, count: int) -> Survey:
    """Looks through the labels of the first people of a data set."""
    names: list[str] = []
    genders: list[str] = []
    attributes: dict[str, list[str]] = {}
    content = hashlib.sha256()
    first: Tensor | None = None
    moved: Tensor | None = None
    for numbers in in_batches(range(count), CHUNK):
        people = dataset.batch(numbers)
        names += people.names
        genders += people.genders
        if people.sequences is not None:
            attributes.setdefault(SEQUENCE, []).extend(people.sequences)
        for name, labels in people.attributes.items():
            attributes.setdefault(name, []).extend(labels)
        if people.body is not None:
            rotations = people.body.rotations[:, 1:]
            first = rotations[:1] if first is None else first
            gap = (rotations - first).abs().amax((0, 2, 3))
            moved = gap if moved is None else torch.maximum(moved, gap)
        _hash(content, people)
    return Survey(
        names=tuple(names),
        genders=tuple(genders),
        attributes={name: tuple(labels) for name, labels in attributes.items()},
        bodies=moved is not None,
        moving=None if moved is None else moved > STILL,
        digest=content.hexdigest(),
    )


def _hash(content: hashlib._Hash, people: LabelledPeople) -> None:
    """Adds labels to a hash: as they are read, but for rotations."""
    content.update("\n".join((*people.names, *people.genders)).encode())
    tensors = [people.box.centre, people.box.side, people.keypoints, people.true_keypoints]
    if people.body is not None:
        # Rotations are made of axes and angles, whose last bits differ between machines.
        tensors += [people.body.shape, (people.body.rotations / STEP).round()]
    if people.joints is not None:
        content.update(" ".join(people.joints.names).encode())
        tensors += [people.joints.places, people.joints.counted]
    if people.camera is not None:
        tensors += [people.camera.focal, people.camera.principal, people.camera.translation]
    for tensor in tensors:
        if tensor is not None:
            content.update((tensor.float() + 0.0).contiguous().numpy().tobytes())
    for path in (*(people.masks or ()), *(people.parts or ())):
        content.update(path.read_bytes())


def join(parts: Sequence[Scores], found: Survey) -> Values:
    """Puts the numbers of all people together, with what tells them apart.

    Args:
        found: Of the same people.
    """
    errors = {name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values}
    nll = [part.joint_nll for part in parts if part.joint_nll is not None]
    if len(nll) == len(parts) and found.moving is not None and bool(found.moving.any()):
        errors["nll_pose"] = torch.cat(nll)[:, found.moving].mean(1)
    weights = {name: torch.cat([part.weights[name] for part in parts]) for name in parts[0].weights}
    attributes = {
        name: Attribute.of_labels(labels if name == SEQUENCE else _tell_apart(name, labels))
        for name, labels in found.attributes.items()
    }
    if found.bodies:
        facing = torch.cat([part.facing for part in parts])
        stout = torch.cat([part.stoutness for part in parts])
        attributes["gender"] = Attribute.of_labels(found.genders)
        attributes["view"] = Attribute(SUBSETS_BY_FACING, facing)
        attributes["build"] = Attribute.thirds(stout, SUBSETS_BY_BUILD)
    return Values(found.names, errors, weights, attributes)


def _tell_apart(name: str, labels: Sequence[str]) -> list[str]:
    """Names kinds by their attribute too: several attributes may have a yes."""
    return [f"{name}: {label}" if label else "" for label in labels]
