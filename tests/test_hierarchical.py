"""HierProb3D's network: published sizes and names, one pass by levels equal to one by joints."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from plausibody.models.hierarchical import AncestralHead, HierarchicalRegressor, ancestors
from plausibody.models.networks import build_regressor
from plausibody.models.prediction import FisherPrediction
from plausibody.models.proxy import Box, Proxy, ProxySettings
from plausibody.models.regressor import RegressorSettings
from plausibody.models.skeleton import SMPL24, SMPL24_PARENTS
from plausibody.models.templates import load_template

SMALL = RegressorSettings(features=32, width=8, blocks=1)
PROXY = ProxySettings(size=32)
EYES = torch.eye(3).expand(24, 3, 3)
COUNTS = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 6, 7, 7]
"""Ancestors of SMPL's joints 1 to 23, less the root."""


def network(**changes: object) -> HierarchicalRegressor:
    torch.manual_seed(0)
    settings = RegressorSettings(**({"features": 32, "width": 8, "blocks": 1} | changes))  # type: ignore[arg-type]
    made = build_regressor("hierprob", settings, PROXY, EYES)
    assert isinstance(made, HierarchicalRegressor)
    return made.eval()


def inputs(count: int = 3, gender: Tensor | None = None) -> Proxy:
    generator = torch.Generator().manual_seed(1)
    return Proxy(
        silhouette=torch.rand(count, 32, 32, generator=generator),
        keypoints=torch.rand(count, 17, 3, generator=generator),
        box=Box(centre=torch.zeros(count, 2), side=torch.ones(count)),
        gender=gender,
    )


def test_ancestors_of_smpls_joints_are_as_published() -> None:
    lines = ancestors(SMPL24_PARENTS)
    assert [len(line) for line in lines] == COUNTS
    assert sum(COUNTS) == 72
    hand = [SMPL24[joint + 1] for joint in lines[SMPL24.index("left_hand") - 1]]
    assert hand == "left_wrist left_elbow left_shoulder left_collar spine3 spine2 spine1".split()


def test_the_tree_is_that_of_the_body() -> None:
    assert load_template("open").parents == SMPL24_PARENTS


def test_the_published_network_has_its_size_and_names() -> None:
    settings = RegressorSettings(encoder="resnet", conditioning="published", whole_covariance=False)
    made = build_regressor("hierprob", settings, ProxySettings(size=256, channel="edges"), EYES)
    assert sum(parameter.numel() for parameter in made.parameters()) == 12_616_684
    found = {name: tuple(value.shape) for name, value in made.state_dict().items()}
    assert {name.split(".")[0] for name in found} == set(
        "image_encoder init_glob init_cam fc1 fc_shape fc_glob fc_cam fc_embed fc_pose".split()
    )
    assert found["fc_embed.weight"] == (256, 541) and found["fc_shape.weight"] == (20, 512)
    for joint, count in enumerate(COUNTS):
        assert found[f"fc_pose.{joint}.0.weight"] == (128, 256 + 21 * count)
        assert found[f"fc_pose.{joint}.2.weight"] == (9, 128)


def joint_by_joint(head: AncestralHead, embedding: Tensor) -> Tensor:
    """The published order of work, one joint after the other."""
    found: list[Tensor] = []
    for joint, line in enumerate(ancestors(SMPL24_PARENTS)):
        lefts, values, modes, others = [], [], [], []
        for ancestor in line:
            parameter = found[ancestor]
            left, value, right = torch.linalg.svd(parameter)
            flip = torch.diag_embed(torch.tensor([1.0, 1, 1]).repeat(len(left), 1))
            flip[:, 2, 2] = torch.linalg.det(left)
            other = torch.diag_embed(torch.tensor([1.0, 1, 1]).repeat(len(left), 1))
            other[:, 2, 2] = torch.linalg.det(right)
            lefts.append((left @ flip).flatten(1))
            values.append(torch.diagonal(flip @ torch.diag_embed(value) @ other, 0, 1, 2))
            modes.append((left @ flip @ other @ right).flatten(1))
            size = parameter.flatten(1).norm(dim=1)[:, None]
            others.append(torch.cat([parameter.flatten(1) / (1 + size), (1 + size).log()], 1))
        told = [*lefts, *values, *modes] if head.conditioning == "published" else others
        first, _, second = list(head[joint].children())
        assert isinstance(first, nn.Linear) and isinstance(second, nn.Linear)
        hidden = functional.elu(first(torch.cat([embedding, *told], 1)))
        found.append(second(hidden).unflatten(1, (3, 3)) + torch.eye(3))
    return torch.stack(found, 1)


@pytest.mark.parametrize("conditioning", ["published", "parameter"])
def test_levels_at_once_equal_joints_one_by_one(conditioning: str) -> None:
    torch.manual_seed(0)
    head = AncestralHead(SMPL24_PARENTS, 16, conditioning)
    embedding = torch.randn(5, 16)
    expected = joint_by_joint(head, embedding)
    torch.testing.assert_close(head(embedding), expected, rtol=1e-4, atol=1e-5)


def test_what_ancestors_say_reaches_their_descendants_and_nobody_else() -> None:
    torch.manual_seed(0)
    head = AncestralHead(SMPL24_PARENTS, 16, "parameter")
    embedding = torch.randn(2, 16)
    before = head(embedding)
    elbow = SMPL24.index("left_elbow") - 1
    with torch.no_grad():
        head.get_submodule(f"{elbow}.2").get_parameter("bias").add_(1.0)
    changed = (head(embedding) - before).abs().flatten(2).amax((0, 2)) > 1e-6
    below = {SMPL24.index(name) - 1 for name in ("left_elbow", "left_wrist", "left_hand")}
    assert {joint for joint in range(23) if changed[joint]} == below


@pytest.mark.parametrize("conditioning", ["published", "parameter"])
@pytest.mark.parametrize("whole", [False, True])
def test_a_batch_of_proxies_gives_distributions(conditioning: str, whole: bool) -> None:
    made = network(conditioning=conditioning, whole_covariance=whole)
    prediction = made.predict(inputs())
    assert isinstance(prediction, FisherPrediction)
    assert prediction.joints.parameter.shape == (3, 23, 3, 3)
    assert prediction.shape.factor.shape == (3, 10, 10)
    assert bool((prediction.shape.factor.diagonal(dim1=-2, dim2=-1) > 0).all())
    correlated = bool((prediction.shape.factor.tril(-1) != 0).any())
    assert correlated == whole and not bool((prediction.shape.factor.triu(1) != 0).any())
    torch.testing.assert_close(prediction.root @ prediction.root.mT, EYES[:3])


def test_the_log_deviation_is_bounded() -> None:
    made = network()
    vector = made(*made.inputs(inputs())).detach()
    vector[:, 3 + 6 + 10 :][:, :10] = torch.tensor([-1e4, 1e4] * 5)
    std = made.read(vector).shape.std
    assert bool(std.isfinite().all()) and float(std.amin()) > 0


@pytest.mark.parametrize("conditioning", ["published", "parameter"])
def test_gradients_reach_every_parameter_and_are_finite(conditioning: str) -> None:
    made = network(conditioning=conditioning, gendered=True)
    proxy = inputs(gender=torch.tensor([1.0, -1, 0]))
    prediction = made.predict(proxy)
    assert isinstance(prediction, FisherPrediction)
    body = prediction.sample(2, torch.Generator().manual_seed(0), reparameterized=True)
    loss = prediction.log_prob(body).mean() + body.rotations.square().sum((-1, -2)).mean()
    (loss + prediction.camera.project(torch.randn(3, 5, 3)).mean()).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name


def test_only_a_gendered_network_hears_the_gender() -> None:
    told, untold = inputs(gender=torch.ones(3)), inputs()
    plain, gendered = network(), network(gendered=True)
    unknown = inputs(gender=torch.zeros(3))
    for made, hears in ((plain, False), (gendered, True)):
        with torch.no_grad():
            first, second, third = (made(*made.inputs(proxy)) for proxy in (told, untold, unknown))
        assert torch.equal(second, third)
        assert torch.equal(first, second) != hears


def test_unknown_conditioning_is_refused() -> None:
    with pytest.raises(ValueError, match="published, parameter, got 'samples'"):
        network(conditioning="samples")
