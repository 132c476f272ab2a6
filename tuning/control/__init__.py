"""Rules that watch a training and act on it."""
