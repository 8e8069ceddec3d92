"""Everything that knows Matrix and nio: transport, sync and intake, encryption, rooms, sending."""
