"""What an evaluation measures: the likelihood of ordinary images, and how well outliers are told from them."""
