"""What makes accounts, behind one port. The only caller of `/_synapse`; it knows neither rooms nor the database."""
