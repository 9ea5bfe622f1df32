"""From DaNet's features of a picture to maps of parts and joints.

Source: Zhang et al., "Learning 3D Human Shape and Pose from Dense Body Parts", 2020, section 3.1,
and its released code, whose names the parameters have.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from plausibody.models.encoder import Bottleneck
from plausibody.models.iuv import CLASSES, IuvMaps
from plausibody.models.part_tables import ANNOTATED15, SHOWN


class IuvHeads(nn.Module):
    """From features to maps of parts, of the annotators' classes, of joints, and of their parts."""

    def __init__(self, planes: int, joints: int, whole: bool = True):
        """Args:
        planes: Of the features.
        joints: How many.
        whole: Whether maps are estimated at all, or only joints.
        """
        super().__init__()
        narrow = planes // Bottleneck.expansion
        blocks = (Bottleneck(planes, narrow) for _ in range(3))
        self.predict_hm = nn.Sequential(nn.Sequential(*blocks), _head(planes, joints))
        self.joints = joints
        if not whole:
            return
        self.predict_u = _head(planes, CLASSES)
        self.predict_v = _head(planes, CLASSES)
        self.predict_uv_index = _head(planes, CLASSES)
        self.predict_ann_index = _head(planes, max(ANNOTATED15) + 1)
        self.predict_partial_iuv = nn.Conv2d(
            joints * planes, joints * 3 * (SHOWN + 1), 3, padding=1, groups=joints
        )

    def maps(self, features: Float[Tensor, "batch C H W"]) -> IuvMaps:
        return IuvMaps(
            u=self.predict_u(features),
            v=self.predict_v(features),
            index=self.predict_uv_index(features),
        )

    def partial(self, features: Float[Tensor, "batch J C H W"]) -> IuvMaps:
        """Gives maps of the parts round each joint, of features cut out there."""
        found = self.predict_partial_iuv(features.flatten(1, 2))
        u, v, index = found.unflatten(1, (self.joints, 3, SHOWN + 1)).unbind(2)
        return IuvMaps(u=u, v=v, index=index)


def _head(planes: int, classes: int) -> nn.Conv2d:
    return nn.Conv2d(planes, classes, 3, padding=1)
