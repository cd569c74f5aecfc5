"""``vasg sweep``: curves of quality over configuration keys, from runs that share what they have in common."""
