"""Raw files to splits: rows of tables and texts, mails, questions, chess; what leaks is dropped."""
