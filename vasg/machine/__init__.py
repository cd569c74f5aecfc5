"""What the fast loops take from the machine: cores, vector registers, memory asked for ahead, compiled code kept."""
