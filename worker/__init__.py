"""The one process that holds the private key and the model: takes jobs from the queue and computes them."""
