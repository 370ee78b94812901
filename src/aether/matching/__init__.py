"""How an order meets a market: the one truth for fills in paper trading, back-tests and the local exchange.

`pricing` holds the numeric rules, `simulator` the venue that applies them to one account's orders. Deterministic: its
random numbers come from a seed that is part of its state, its time from the events. It never imports the engine.
"""
