"""Models that FSDP2 or DeepSpeed divides: saved whole or in parts, and taken up by any number of processes."""
