"""How fast lookups are answered, beside what else could be answered with the same server and core."""
