"""What is typed and what is answered: the command table, its grammar, help, and messages as trees."""
