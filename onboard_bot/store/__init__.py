"""The one database: tables, transactions, migrations. The only importer of SQLAlchemy."""
