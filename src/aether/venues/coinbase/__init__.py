"""Coinbase Advanced Trade: REST and WebSocket."""
