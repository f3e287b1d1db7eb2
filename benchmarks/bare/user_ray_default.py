"""Outlier scores of PNG rows as a user of Ray Data and PyTorch writes them: `user_ray_default.py SOURCE TARGET`."""

import io
import sys

import numpy as np
import ray
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import pad


def network():
    """The sizes of the recipe fashion-mnist: 28×28 grey, 32 latent variables, two parameters a pixel."""
    sizes = [(1, 32), (32, 64), (64, 128)]
    down = [layer for a, b in sizes for layer in (nn.Conv2d(a, b, 4, 2, 1), nn.ReLU())]
    encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(2048, 256), nn.ReLU(), nn.Linear(256, 64))
    up = [layer for a, b in ((128, 64), (64, 32)) for layer in (nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ReLU())]
    dense = [nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 2048), nn.ReLU(), nn.Unflatten(1, (128, 4, 4))]
    return nn.ModuleList([encoder, nn.Sequential(*dense, *up, nn.ConvTranspose2d(32, 2, 4, 2, 1))]).eval()


class Scorer:
    def __init__(self):
        torch.manual_seed(0)
        self.encoder, self.decoder = network()

    @torch.inference_mode()
    def __call__(self, batch):
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(row["bytes"]))) for row in batch["image"]])
        x = torch.from_numpy(pixels).float()[:, None]
        mean, log_variance = self.encoder(pad(x / 127.5 - 1, (2, 2, 2, 2))).chunk(2, dim=1)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
        location, log_scale = self.decoder(mean)[:, :, 2:30, 2:30].chunk(2, dim=1)
        # A discretised logistic likelihood of the grey levels.
        centred, inverse = x - 127.5 * (1 + location), torch.exp(-log_scale)
        mass = torch.sigmoid((centred + 0.5) * inverse) - torch.sigmoid((centred - 0.5) * inverse)
        reconstruction = mass.clamp_min(1e-7).log().sum((1, 2, 3))
        scores = {"reconstruction": reconstruction, "kl": kl, "elbo": reconstruction - kl}
        scores["squared_error"] = (centred**2).mean((1, 2, 3))
        scores["z_score"] = (scores["elbo"] + 3000.0) / 400.0  # mean and deviation of held-out images
        return {"path": [row["path"] for row in batch["image"]], **{k: v.numpy() for k, v in scores.items()}}


if __name__ == "__main__":
    source, target = sys.argv[1:]
    ray.init(num_cpus=4)  # on two CPUs, two actors would leave none for reading and writing
    actors = ray.data.ActorPoolStrategy(size=2)
    # Without a batch size a batch is a whole block, whose activations exceed the memory of many machines.
    ray.data.read_parquet(source).map_batches(Scorer, compute=actors, batch_size=1024).write_parquet(target)
