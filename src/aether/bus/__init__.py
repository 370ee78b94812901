"""Publish and subscribe between roles. Today within one process (`local`); NATS and Kafka join behind the same
words."""
