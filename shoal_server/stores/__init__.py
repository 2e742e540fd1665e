"""Where squids are kept: in this process, or in Redis for several servers. One contract, tested for both."""
