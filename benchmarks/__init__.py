"""What this project claims about itself, measured: each module is one command."""
