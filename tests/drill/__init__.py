"""The drill: the whole platform over real sockets and a real PostgreSQL, while its parts are killed and cut."""
