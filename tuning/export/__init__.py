"""Write a trained model in the formats of other programs, and prove each file before it gets its name."""
