"""The control plane: who may do what, the firm's secrets, governance, and the audit trail.

Services here work on the database in the role `aether_control` and write each change and its audit entry in one
transaction. They know no HTTP: `aether.api` and `aether.compose` call them.
"""
