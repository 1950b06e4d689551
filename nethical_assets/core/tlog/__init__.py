"""A C2SP transparency log: Merkle tree, signed notes, checkpoints, tiles. Nothing here knows what an entry means."""
