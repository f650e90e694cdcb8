"""Real faults: full disks, failing devices, killed processes, cut power."""
