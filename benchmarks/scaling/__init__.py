"""What a billion images cost: a cost model, fitted to measurements and checked against a simulated run."""
