"""The vocabulary of the house: instruments, scaled numbers, orders, books, bars, events, commands, errors.

Pure data and the arithmetic on it. Nothing here knows an account's state, a clock, a socket or a database;
everything above speaks in these words.
"""
