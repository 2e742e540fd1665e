"""What an operator can do beside running a server; one module per subject, loaded when it is asked for."""
