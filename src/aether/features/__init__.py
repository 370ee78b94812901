"""Features: one definition each, the same in batch and in streaming.

A feature is a pure step over numbers; a batch is the step applied in order. Strategies and models read features, never
prices of their own making.
"""
