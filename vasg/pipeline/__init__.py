"""The stages in order, what is around each job, and the command that runs them all."""
