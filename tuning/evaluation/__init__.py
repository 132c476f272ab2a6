"""How good a model is, during training and after it."""
