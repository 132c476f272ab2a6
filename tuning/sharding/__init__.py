"""Models that FSDP2 divides over processes: saved whole or in parts, and taken up by any number of processes."""
