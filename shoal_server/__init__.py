"""The server: takes heartbeats in, keeps the list of squids true, and answers who is near."""
