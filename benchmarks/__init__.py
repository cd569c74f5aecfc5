"""Times the stages beside other implementations: ``make bench``."""

import vasg.training  # noqa: F401  it sets what torch reads when it is imported, for trainings timed in this process, too
