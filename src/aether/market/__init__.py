"""Market data: files in many shapes, their quality, bars, replay and a synthetic market.

`files` reads, `quality` judges, `bars` aggregates, `replay` turns a data set into the events that a live feed would
give, `synthetic` makes a market of its own. Where data sets are stored is `store`'s business.
"""
