"""The only folder that knows concrete classes: builds every role from settings and passes its parts in.

`directory` and `storage` open what a process stands on, `accounts` and `markets` say what trades where, `control`
builds the control plane, `trading` the node, `platform` runs it all in one process.
"""
