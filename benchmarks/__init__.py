"""Times the stages beside other implementations: ``make bench``."""
