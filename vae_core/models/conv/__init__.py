"""The convolutional family: strided convolutions to one latent vector, upsampling back to the likelihood of pixels."""
