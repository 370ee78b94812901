"""The whole desk on virtual time from one seed: real engine, node, sessions, codecs and exchange.

Simulated are the clock, the network, the database's faults, and who does what when. It owns no rule of trading."""
