"""The scoring gateway: verified champions behind HTTP. It imports ``home`` and ``core`` only, and never the
orchestrator."""
