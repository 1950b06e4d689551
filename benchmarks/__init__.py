"""Benchmarks: every performance claim of the project is measured here, never by a timed test.

What belongs here: programs that measure and print JSON. What does not: assertions.
"""
