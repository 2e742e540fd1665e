"""What Shoal costs, measured: `make bench`. Figures go into docs/performance.md."""
