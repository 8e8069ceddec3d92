"""Self-service onboarding for closed Matrix homeservers, from a chat room."""

__version__ = "0.1.0"
