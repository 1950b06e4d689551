"""Keys, DSSE envelopes and OpenSSF model signatures."""
