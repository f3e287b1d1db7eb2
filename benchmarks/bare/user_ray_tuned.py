"""The job of user_ray_default.py, tuned for a small machine, to the same columns: `user_ray_tuned.py SOURCE TARGET`."""

import io
import os
import sys

# One process reads footers instead of 32; the rows come in blocks small enough for two actors to share.
os.environ.update(RAY_DATA_PARQUET_FOOTER_NUM_ACTORS="1", RAY_DATA_PARQUET_BIN_PACKING_BYTES=str(4 << 20))

import numpy as np
import pyarrow as pa
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
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.encoder, self.decoder = network().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, rows):
        image = rows["image"].combine_chunks()
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(png))) for png in image.field("bytes").to_pylist()])
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
        return pa.table({"path": image.field("path"), **{name: value.numpy() for name, value in scores.items()}})


if __name__ == "__main__":
    source, target = sys.argv[1:]
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    actors = ray.data.ActorPoolStrategy(size=2)
    scored = ray.data.read_parquet(source).map_batches(Scorer, compute=actors, batch_size=256, batch_format="pyarrow")
    scored.write_parquet(target)
