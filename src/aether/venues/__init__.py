"""Venues: one module per exchange behind one port.

Today there is one, `paper`: a simulated venue for each account. A venue takes commands and gives reports back; what an
account knows of the world besides market data, it knows from reports.
"""
