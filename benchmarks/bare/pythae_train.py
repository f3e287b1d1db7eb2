"""pythae's training loop, as in its documentation, on the network that `train_step.py` builds.

    PYTHAE/bin/python benchmarks/bare/pythae_train.py IMAGES.npy OUTPUT '{"shape": [1, 28, 28], …, "threads": 1}'

prints the images per second of the second epoch, with all defaults: unit-variance Gaussian, fp32, Adam, the loader.
"""

import json
import sys
import time

import numpy as np
import torch
from pythae import data, models, trainers
from pythae.models.base.base_utils import ModelOutput
from torch import nn

o = json.loads(sys.argv[3])
torch.set_num_threads(o["threads"])
(channels, height, width), widths, hidden, latent = o["shape"], o["widths"], o["hidden"], o["latent"]
sizes = [(-(-height // 2**i), -(-width // 2**i)) for i in range(len(widths) + 1)]
flat = widths[-1] * sizes[-1][0] * sizes[-1][1]


class Encoder(models.nn.BaseEncoder):
    def __init__(self):
        super().__init__()
        self.layers, ends = nn.Sequential(), [channels, *widths]
        for (h, w), a, b in zip(sizes, ends, ends[1:], strict=False):
            self.layers += nn.Sequential(nn.ZeroPad2d((0, w % 2, 0, h % 2)), nn.Conv2d(a, b, 4, 2, 1), nn.ReLU())
        self.layers += nn.Sequential(nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))

    def forward(self, x):
        return ModelOutput(zip(("embedding", "log_covariance"), self.layers(x).chunk(2, 1), strict=True))


class Decoder(models.nn.BaseDecoder):
    def __init__(self):
        super().__init__()
        ends, layers = [*reversed(widths), channels], [nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, flat)]
        layers += [nn.ReLU(), nn.Unflatten(1, (widths[-1], *sizes[-1]))]
        for (h, w), (h2, w2), a, b in zip(sizes[-2::-1], sizes[:0:-1], ends, ends[1:], strict=False):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1), nn.ZeroPad2d((0, w - 2 * w2, 0, h - 2 * h2)), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1], nn.Sigmoid())

    def forward(self, z):
        return ModelOutput(reconstruction=self.layers(z))


class Clock(trainers.training_callbacks.TrainingCallback):
    def on_epoch_end(self, *_, **__):
        ends_of_epochs.append(time.monotonic())


images, ends_of_epochs = torch.from_numpy(np.load(sys.argv[1])) / 255.0, []
config = trainers.BaseTrainerConfig(sys.argv[2], o["batch"], num_epochs=2, no_cuda=True)
model = models.VAE(models.VAEConfig(input_dim=o["shape"], latent_dim=latent), Encoder(), Decoder())
dataset = data.datasets.BaseDataset(images, torch.zeros(len(images)))
trainers.BaseTrainer(model, dataset, None, config, [Clock()]).train()
print(len(images) / (ends_of_epochs[1] - ends_of_epochs[0]))
