"""The contract between the programs: what two of them need, and nothing that keeps state."""
