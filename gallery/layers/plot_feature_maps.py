"""
What a network sees
===================

LeNet learns handwritten digits in some seconds. Then its filters can be looked at, and what each
layer makes of an image.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

import torchconv
from examples.models import LeNet
from torchconv.visualize import compute_receptive_field, feature_maps, filters, receptive_field

# %%
# The digits of scikit-learn are 8 × 8, LeNet wants 28 × 28: they are made larger. Every fifth is
# kept for the test.

digits = load_digits()
images = F.interpolate(torch.tensor(digits.images)[:, None].float() / 16, size=28, mode="bilinear")
labels = torch.tensor(digits.target)
held_out = torch.arange(len(images)) % 5 == 0

assert images.shape == (1797, 1, 28, 28)
assert int(held_out.sum()) == 360

# %%
# Four epochs in batches of 32:

torch.manual_seed(0)
model = LeNet(torchconv.Conv2d)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
train_images, train_labels = images[~held_out], labels[~held_out]
model.train()
for epoch in range(4):
    for batch in torch.randperm(len(train_images)).split(32):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(train_images[batch]), train_labels[batch])
        loss.backward()
        optimizer.step()
    print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}")

model.eval()
with torch.inference_mode():
    correct = model(images[held_out]).argmax(1) == labels[held_out]
print(f"{correct.float().mean():.1%} of the digits held out are right")

assert correct.float().mean() > 0.93

# %%
# Filters
# -------
# Six filters of 5 × 5 in the first layer, red where positive and blue where negative. Some sum up
# a part of their window, others take the difference of two parts. After so short a training they
# are still far from smooth.

assert model.features[0].weight.shape == (6, 1, 5, 5)

first = filters(model.features[0])

# %%
# Feature maps
# ------------
# A digit, and what the first and the second convolution make of it after their ReLU. Among the
# first maps at least one still looks like the digit: the two correlate by more than 0.8. The second
# ones are coarser and say where a part of a digit is. A map may be empty: none of the windows of
# this digit suits its filter.

maps = feature_maps(model, images[3], layers=["features.1", "features.4"])

with torch.inference_mode():
    first_maps = model.features[:2](images[3:4])[0]
likeness = [
    float(torch.corrcoef(torch.stack([each.flatten(), images[3].flatten()]))[0, 1])
    for each in first_maps
    if each.std() > 0
]

assert max(likeness) > 0.8

# %%
# Receptive field
# ---------------
# How much of the image does a number of the second convolution depend on? 5 rows in the first
# layer; the pooling adds one and doubles the step; five of those steps: 5 + 1 + 4 · 2 = 14.

field = compute_receptive_field(model, "features.3")
print(field)

assert field.size == (14, 14)
assert field.stride == (2, 2)

grown = receptive_field(model, "features.3")
