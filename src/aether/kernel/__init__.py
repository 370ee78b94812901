"""Numeric rules as functions of numbers, in the subset that numba compiles: the one place where each rule stands.

They know no strings, objects or exceptions: whoever calls them finds the words. Amounts, prices and sizes are integers
as in `domain.scaled`; floats are for indicators and estimates. `positions` (holdings at average cost), `marks` (what a
position is valued at), `sizing`, `exits` (protective levels), `schedules` (how a parent order spreads over time).
"""
