"""Checkpoints: written whole, known to be whole, found again, and refused where the disk cannot hold one."""
