"""What minigan costs: `make bench` measures it, and writes `data/results/speed.csv`."""
