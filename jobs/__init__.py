"""What runs on a cluster and from the command line: train, export, score, sample, report."""
