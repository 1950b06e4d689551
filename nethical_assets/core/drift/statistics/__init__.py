"""Statistics of drift, one file each. None of them knows a threshold."""
