"""report.html: one self-contained page about what is published, for people."""
