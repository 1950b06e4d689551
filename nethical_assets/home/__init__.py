"""Where state is: settings, the workspace of stores under one home, stage records, acts, locks.

What belongs here: opening and naming state. What does not: what is done with it.
"""
