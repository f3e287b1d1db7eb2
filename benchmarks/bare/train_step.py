"""A bare optimisation step of a convolutional VAE on a tensor in memory: forward, ELBO, backward, clipping, AdamW.

    python benchmarks/bare/train_step.py '{"shape": [1, 28, 28], "widths": [32, 64, 128], "hidden": 256, "latent": 32,
                                           "batch": 128, "threads": 1, "bf16": true, "seconds": 10}'

prints the images per second. No data is read, no noise is keyed, nothing is averaged, counted or reported.
"""

import json
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

o = json.loads(sys.argv[1])
torch.set_num_threads(o["threads"])
(channels, height, width), widths = o["shape"], o["widths"]
sizes = [(-(-height // 2**i), -(-width // 2**i)) for i in range(len(widths) + 1)]
flat = widths[-1] * sizes[-1][0] * sizes[-1][1]
ends = [channels, *widths]
encoder = []
for (h, w), a, b in zip(sizes, ends, ends[1:], strict=False):
    encoder += [nn.ZeroPad2d((0, w % 2, 0, h % 2)), nn.Conv2d(a, b, 4, 2, 1), nn.ReLU()]
encoder += [nn.Flatten(), nn.Linear(flat, o["hidden"]), nn.ReLU(), nn.Linear(o["hidden"], 2 * o["latent"])]
ends = [*reversed(widths), 2 * channels]
decoder = [nn.Linear(o["latent"], o["hidden"]), nn.ReLU(), nn.Linear(o["hidden"], flat), nn.ReLU()]
decoder += [nn.Unflatten(1, (widths[-1], *sizes[-1]))]
for (h, w), (h2, w2), a, b in zip(reversed(sizes[:-1]), reversed(sizes[1:]), ends, ends[1:], strict=False):
    decoder += [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ZeroPad2d((0, w - 2 * w2, 0, h - 2 * h2)), nn.ReLU()]
model = nn.ModuleList([nn.Sequential(*encoder), nn.Sequential(*decoder[:-1])]).to(memory_format=torch.channels_last)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.99), fused=True)
images = torch.randint(0, 256, (o["batch"], *o["shape"]), dtype=torch.uint8)


def step():
    x = images.float().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=o["bf16"]):
        mean, log_variance = model[0](x / 127.5 - 1.0).float().chunk(2, 1)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        location, raw = model[1](z).float().chunk(2, 1)
    inverse = torch.exp(-F.softplus(raw + 5.7) + 2.3)  # of a discretised logistic's scale, at least 0.1 grey levels
    above, below = ((x + shift - 127.5 - 64.0 * location) * inverse for shift in (-0.5, 0.5))
    inside = torch.log(-torch.expm1(-inverse)) - F.softplus(-below) - F.softplus(above)
    log_px = torch.where(x < 0.5, -F.softplus(-below), torch.where(x > 254.5, -F.softplus(above), inside))
    kl = 0.5 * (mean**2 + torch.expm1(log_variance) - log_variance)
    optimizer.zero_grad()
    ((kl.sum() - log_px.sum()) / images.numel()).backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


for _ in range(5):
    step()
done, began = 0, time.monotonic()
while (took := time.monotonic() - began) < o["seconds"]:
    step()
    done += len(images)
print(done / took)
