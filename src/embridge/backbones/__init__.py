"""Networks that end in the features of an objective, and what a trained one is saved and loaded as."""
