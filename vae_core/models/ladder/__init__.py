"""The ladder family: a hierarchical VAE, whose latent variables lie on grids from coarse to fine."""
