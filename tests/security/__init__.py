"""TLS and credentials between agents, brokers and servers, with a self-made authority."""
