"""Keeps a running bot true beside its work: its room, its identity, its storage, and what it tells of them."""
