"""The oracle: a linear-Gaussian model, whose log p(x) and p(z|x) are known in closed form.

    z ~ N(0, I), x|z ~ N(Wz + b, s² I)  ⇒  x ~ N(b, WWᵀ + s² I), z|x ~ N(M⁻¹Wᵀ(x − b), s² M⁻¹), M = WᵀW + s² I

(Probabilistic PCA, Tipping and Bishop 1999.) With orthogonal columns in W the true posterior is diagonal, so that a
diagonal q(z|x) can reach it.
"""

import torch
from torch import Tensor

from vae_core.batch import Batch
from vae_core.latents import StandardNormal
from vae_core.latents.base import Draw
from vae_core.latents.diagonal_gaussian import LOG_2PI, DiagonalGaussian


class LinearGaussian:
    """float64 throughout. `mean_error` and `log_scale_error` move q(z|x) away from the true posterior."""

    def __init__(
        self,
        pixels: int = 6,
        latents: int = 3,
        scale: float = 0.5,
        mean_error: float = 0.0,
        log_scale_error: float = 0.0,
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        basis = torch.linalg.qr(torch.randn(pixels, latents, generator=generator, dtype=torch.float64)).Q
        self.weight = basis * torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)[:latents]
        self.bias = torch.randn(pixels, generator=generator, dtype=torch.float64)
        self.scale, self.mean_error, self.log_scale_error = scale, mean_error, log_scale_error

    def draw(self, count: int) -> Tensor:
        generator = torch.Generator().manual_seed(1)
        pixels, latents = self.weight.shape
        z = torch.randn(count, latents, generator=generator, dtype=torch.float64)
        noise = torch.randn(count, pixels, generator=generator, dtype=torch.float64)
        return z @ self.weight.T + self.bias + self.scale * noise

    def prior(self, batch: Batch) -> StandardNormal:
        return StandardNormal(self.weight.shape[1])

    def posterior(self, batch: Batch) -> DiagonalGaussian:
        diagonal = (self.weight**2).sum(0) + self.scale**2
        mean = (batch["image"] - self.bias) @ self.weight / diagonal
        log_variance = torch.log(self.scale**2 / diagonal).expand_as(mean)
        return DiagonalGaussian(mean + self.mean_error, log_variance + 2 * self.log_scale_error)

    def log_px_z(self, batch: Batch, z: Tensor) -> Tensor:
        residual = (batch["image"] - z @ self.weight.T - self.bias) / self.scale
        return (-0.5 * (LOG_2PI + residual**2) - torch.log(torch.tensor(self.scale, dtype=torch.float64))).sum(-1)

    def sample_posterior(self, batch: Batch, posterior: DiagonalGaussian, noise: Tensor) -> tuple[Draw[Tensor], Tensor]:
        draw = posterior.sample(noise)
        return draw, self.log_px_z(batch, draw.z)

    def log_py_z(self, batch: Batch, z: Tensor) -> Tensor | None:
        """It has no classes."""
        del batch, z
        return None

    def log_px(self, image: Tensor) -> Tensor:
        covariance = self.weight @ self.weight.T + self.scale**2 * torch.eye(len(self.bias), dtype=torch.float64)
        return torch.distributions.MultivariateNormal(self.bias, covariance).log_prob(image)
