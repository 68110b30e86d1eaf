"""Raw files to splits: rows of tables and texts, emails, questions, chess; no leaks."""
