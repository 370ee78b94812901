"""A local exchange that speaks Kraken's, Binance's and Coinbase's protocols: for tests, drills and demos.

Its faces share no codec with the adapters in `venues/`: a mistake made in both would otherwise go unseen.
"""
