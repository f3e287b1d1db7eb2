"""What the likelihoods' parameters mean, in which unit, and how far runtimes may differ in them."""

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
)
_BY_NAME = {output.name: output for output in _OUTPUTS}


def described(name: str) -> Output:
    """The description of a parameter."""
    return _BY_NAME[name]
