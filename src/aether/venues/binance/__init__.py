"""Binance spot: REST, streams and WebSocket API."""
