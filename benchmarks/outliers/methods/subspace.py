"""Without a network: the first 64 principal components of the training images, and nearest neighbours in them."""

from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from benchmarks.outliers.methods.base import Floats, Images, Method, Score, Trained, flat

_COMPONENTS = 64


def _fit(trained: Trained) -> PCA:
    return PCA(_COMPONENTS, random_state=trained.seed).fit(flat(trained.training))


def _reconstruction(trained: Trained) -> Score:
    """The mean squared distance of an image from its projection."""
    pca = _fit(trained)

    def score(images: Images) -> Floats:
        vectors = flat(images)
        error: Floats = ((vectors - pca.inverse_transform(pca.transform(vectors))) ** 2).mean(1).astype(float)
        return error

    return score


def _nearest(trained: Trained) -> Score:
    """The distance from the nearest of all training images."""
    pca = _fit(trained)
    neighbours = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(pca.transform(flat(trained.training)))
    return lambda images: neighbours.kneighbors(pca.transform(flat(images)))[0][:, 0].astype(float)


METHODS = {
    "pca": Method("PCA-64 reconstruction", _reconstruction, depends_on="images"),
    "neighbour": Method("nearest neighbour, PCA-64", _nearest, depends_on="images"),
}
