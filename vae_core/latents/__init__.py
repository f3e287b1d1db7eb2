"""Priors and posteriors over latent vectors."""
