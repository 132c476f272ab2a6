"""`tune doctor`: see whether the machine, the packages, the model and its chat template are fit for a run."""
