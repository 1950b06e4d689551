"""The subcommands of ``nethical``, one module a subject.

What belongs here: parsing arguments, calling, printing. What does not: doing.
"""
