"""The policy simulator: squids and workers at real places, the shipped ranking, others, and the optimum."""
