"""What happens: the use cases. One function is one transaction; effects are intents."""
