"""Makes samples of the synthetic stream and shows that they depend on nothing but their number."""

import torch

from plausibody.config import override
from plausibody.presets import preset
from plausibody.synth.generator import BatchGenerator
from plausibody.synth.stores import load_assets

assets = load_assets("train")
small = BatchGenerator(override(preset("lite"), {"train.batch_size": 7}), assets)
large = BatchGenerator(override(preset("lite"), {"train.batch_size": 32}), assets)

batch = large[0]
print("silhouettes", tuple(batch.proxy.silhouette.shape))
print("key points ", tuple(batch.proxy.keypoints.shape))
print("shapes     ", tuple(batch.target.parameters.shape.shape))

same = torch.equal(small[1].proxy.silhouette, batch.proxy.silhouette[7:14])
print("sample 7 is the same in batches of 7 and of 32:", same)
