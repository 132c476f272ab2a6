"""Fill in what the user left out, each value with its reason; imports neither torch nor transformers."""
