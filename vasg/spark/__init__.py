"""What the jobs need of Spark itself: its session, its paths, Python workers."""
