"""The HTTP interface: FastAPI routers, one per context, the web socket, and the built UI.

pydantic appears only here, at the edge. Money, prices and sizes go out as exact decimal text.
"""
