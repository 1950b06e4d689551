"""What everything stands on: errors, digests, storage. Nothing here knows a subject."""
