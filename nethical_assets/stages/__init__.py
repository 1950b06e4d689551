"""The graph, one file a stage in its order, and ``stage``: the declaration and the one sequence every stage runs
through."""
