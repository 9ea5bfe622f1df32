"""The bodies that labels are of: one template for each gender, and people of several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from plausibody.models.body import BodyTemplate, pose_body, regress, rest_vertices
from plausibody.models.markers import JointRegressors
from plausibody.models.prediction import BodyParameters
from plausibody.models.records import take, to_device
from plausibody.models.templates import load_template
from plausibody.synth.stores import load_regressors

WHERE_SMPL_IS = (
    "put the files of SMPL's makers (https://smpl.is.tue.mpg.de) for these genders into "
    "train_files/smpl, or name their folder with --labels-body"
)


@dataclass(frozen=True)
class LabelBodies:
    """The templates of one family, by gender: male, female, neutral."""

    templates: Mapping[str, BodyTemplate]
    regressors: JointRegressors
    """Of the mesh that all of them have."""

    @classmethod
    def load(
        cls, spec: str, genders: Iterable[str], device: torch.device | str = "cpu"
    ) -> LabelBodies:
        """Opens the bodies of some genders.

        Args:
            spec: As of `load_template`: smpl for the licensed files, open for what ships.

        Raises:
            FileNotFoundError: If a gender's file is missing.
            ValueError: If a file is of another gender or mesh than it should be.
        """
        wanted = sorted(set(genders))
        templates = {}
        for gender in wanted:
            try:
                templates[gender] = load_template(spec, gender).to(device)
            except FileNotFoundError as error:
                raise FileNotFoundError(
                    f"--labels-body {spec}: wanted the {gender} body that the labels are of; do: "
                    f"{WHERE_SMPL_IS}\n{error}"
                ) from error
        wrong = [gender for gender, body in templates.items() if body.gender != gender]
        if wrong:
            raise ValueError(
                f"--labels-body {spec}: wanted bodies of the genders {', '.join(wanted)}, got "
                f"{templates[wrong[0]].gender} for {wrong[0]}; do: name the folder that holds all"
            )
        if len({body.topology for body in templates.values()}) > 1:
            raise ValueError(
                f"--labels-body {spec}: wanted bodies of one mesh, got several; do: take all "
                "genders from one publisher and version"
            )
        regressors = load_regressors(templates[wanted[0]].to("cpu"))
        return cls(templates, to_device(regressors, device))

    @property
    def topology(self) -> str:
        return next(iter(self.templates.values())).topology

    @property
    def faces(self) -> Int[Tensor, "F 3"]:
        return next(iter(self.templates.values())).faces

    def posed(self, body: BodyParameters, genders: Sequence[str]) -> Float[Tensor, "people V 3"]:
        """Poses people, each as their gender's body; vertices in the world [m]."""

        def pose(template: BodyTemplate, some: Int[Tensor, " N"]) -> Tensor:
            theirs = take(body, some)
            return pose_body(template.skin, theirs.shape, theirs.rotations).vertices

        return self._of_each(genders, pose)

    def rest(
        self, shape: Float[Tensor, "*guesses people S"], genders: Sequence[str]
    ) -> Float[Tensor, "*guesses people V 3"]:
        """Shapes people, each as their gender's body, in the rest pose [m]."""

        def make(template: BodyTemplate, some: Int[Tensor, " N"]) -> Tensor:
            return rest_vertices(template, shape[..., some, :])

        return self._of_each(genders, make, axis=-3)

    def joints(self, vertices: Float[Tensor, "*batch V 3"]) -> Float[Tensor, "*batch 17 3"]:
        """Gives the joints of the H36M regressor."""
        return regress(self.regressors.h36m17, vertices)

    def pelvis(
        self, shape: Float[Tensor, "people S"], genders: Sequence[str]
    ) -> Float[Tensor, "people 3"]:
        """Gives the root joint of shaped bodies at rest, about which they turn [m]."""

        def root(template: BodyTemplate, some: Int[Tensor, " N"]) -> Tensor:
            rest = rest_vertices(template, shape[some])
            return template.joint_regressor[0] @ rest

        return self._of_each(genders, root)

    def _of_each(
        self,
        genders: Sequence[str],
        make: Callable[[BodyTemplate, Tensor], Tensor],
        axis: int = 0,
    ) -> Tensor:
        """Makes something of the people of each gender, and puts it into their order."""
        order, parts = [], []
        for template, some in self._groups(genders):
            order.append(some)
            parts.append(make(template, some))
        back = torch.cat(order).argsort()
        return torch.cat(parts, axis).index_select(axis, back)

    def _groups(self, genders: Sequence[str]) -> Iterator[tuple[BodyTemplate, Tensor]]:
        if unknown := set(genders) - set(self.templates):
            raise ValueError(f"genders: wanted {', '.join(self.templates)}, got {unknown}")
        for gender, template in self.templates.items():
            some = [n for n, own in enumerate(genders) if own == gender]
            if some:
                yield template, torch.tensor(some, device=template.vertices.device)
