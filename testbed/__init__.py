"""Real services on loopback and free ports, for the tests, the demo and the measurements."""
