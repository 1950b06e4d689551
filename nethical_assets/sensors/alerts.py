"""The alert sensors: failed checks and failed runs become issues.

What belongs here: reading Dagster's events and calling the tracker. What does not: what an alert says, its fingerprint
or its labels (``core.alerts``).
"""


def build_alert_sensors(settings):
    return []
