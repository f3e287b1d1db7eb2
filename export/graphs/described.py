"""What the statistics and the likelihoods' parameters mean, in which unit, and how far runtimes may differ in them."""

from vae_core.outputs import Output

_OUTPUTS = (
    Output(
        "location",
        "location of p(x|z) per pixel",
        "grey levels (discretised-logistic) or 1/255 of them (gaussian)",
        tolerance=1e-5 * 255,  # only differences count, which are judged against the range of grey levels
    ),
    Output("log_scale", "log of the scale of p(x|z) per pixel", "of the same unit as location"),
    Output("logits", "logit of p(x|z)'s parameter per pixel", "1", tolerance=1e-4),
    Output("reconstruction", "log p(x|z) at z = mean of q(z|x)", "nats per image"),
    Output("kl", "KL(q(z|x) ‖ p(z))", "nats per image"),
    Output("best_reconstruction", "highest log p(·|z) that any image reaches at that z", "nats per image"),
    Output("log_surprise", "log of 1 + the nats by which the image is less likely than that", "log nats"),
    Output("log_peak_surprise", "log of 1 + the same of the most surprising pixel", "log nats", tolerance=1e-4),
    Output("log_mean_norm", "log of the squared norm of the mean of q(z|x)", "1"),
    Output("mean_log_variance", "mean over the latent variables of log_variance", "1"),
    Output("log_error", "log of the mean squared error of the reconstruction", "log grey levels²"),
    Output("log_absolute_error", "log of its mean absolute error", "log grey levels"),
    Output("log_peak_error", "log of the largest error of a pixel", "log grey levels", tolerance=1e-4),
    Output("log_relative_error", "log of the squared error over the image's own squared gradients", "1"),
    Output("log_error_curvature", "log of the mean squared second differences of the error", "log grey levels²"),
    Output("log_roughness", "log of the image's mean squared gradients", "log grey levels²"),
    Output("log_curvature", "log of the image's mean squared second differences", "log grey levels²"),
    Output("log_reconstructed_roughness", "log of the reconstruction's mean squared gradients", "log grey levels²"),
    Output("black", "share of pixels of level 0", "1"),
    Output("white", "share of pixels of level 255", "1"),
    Output("flat", "pairs of neighbouring pixels of one level, black ones aside, per pixel", "1"),
    Output(
        "log_aggregate_posterior",
        "log density of the mean of q(z|x) among those of in-distribution images",
        "nats",
        tolerance=1e-4,
    ),
)
_BY_NAME = {output.name: output for output in _OUTPUTS}


def described(name: str) -> Output:
    """The description of a statistic or parameter."""
    return _BY_NAME[name]
