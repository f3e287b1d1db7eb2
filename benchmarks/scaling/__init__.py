"""The cost of scoring a billion images: a model, fitted to measurements and checked against a simulated run."""
