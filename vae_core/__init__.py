"""Variational autoencoders: the model, its mathematics and one step of its optimisation."""
