"""The ``nethical`` program: ``app`` with the commands about whole cycles, and one module a subject.

What belongs here: parsing arguments, calling, printing. What does not: doing.
"""
