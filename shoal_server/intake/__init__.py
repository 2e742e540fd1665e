"""The ways a heartbeat comes in. All end in the same act: `Reception.take`."""
