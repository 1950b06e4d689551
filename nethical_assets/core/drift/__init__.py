"""Watching what champions see: references, comparisons with a later window, the inference log, the ethical report."""
