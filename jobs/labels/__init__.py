"""Classes and labels of scored images: the columns of a scoring job, and what it counts of them."""
