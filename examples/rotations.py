"""The matrix-Fisher distribution by itself: how sure one rotation is, and its samples."""

import torch

from plausibody.models.fisher import MatrixFisher, log_normalizer

# Three joints at once: known well, known but for the twist about x, and not at all.
values = torch.tensor([[60.0, 60.0, 60.0], [40.0, 0.4, 0.2], [0.0, 0.0, 0.0]])
joints = MatrixFisher(torch.diag_embed(values))
print("log c", [round(value, 2) for value in log_normalizer(values).tolist()])
print("entropy [nats]", [round(value, 2) for value in joints.entropy().tolist()])

radius = torch.rad2deg(joints.credible_radius(0.9))
print("90 % lie within [degrees]", [round(value) for value in radius.tolist()])

samples = joints.sample(1000, torch.Generator().manual_seed(0))  # [1000, 3, 3, 3]
print("mean log-density", joints.log_prob(samples).mean(0))

# Two independent opinions on one joint: the product of their densities is one too.
both = joints.product(joints)
print("entropy of two", [round(value, 2) for value in both.entropy().tolist()])
