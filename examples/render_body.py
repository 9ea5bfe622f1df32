"""Shapes, poses and renders the open body: writes body.png beside you."""

import torch

from plausibody.doctor import asymmetric_pose, render_pose
from plausibody.models.body import pose_body
from plausibody.models.templates import load_template
from plausibody.predict.drawing.bodies import save_picture

template = load_template("open", "neutral")

# Two bodies: one short and one tall, both in the rest pose.
shape = torch.zeros(2, 10)
shape[:, 0] = torch.tensor([-2.0, 2.0])
body = pose_body(template, shape, torch.eye(3).expand(2, 24, 3, 3))
height = body.vertices[..., 1].amax(-1) - body.vertices[..., 1].amin(-1)
print("heights [m]:", [round(value, 2) for value in height.tolist()])

picture, joints = render_pose(template, asymmetric_pose(), size=384)
save_picture(picture, "body.png")
print("body.png: left arm up, right knee bent; joints as x, y [px], depth [m]:", joints.shape)
