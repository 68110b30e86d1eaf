"""What a model says of rows: classes, next tokens, chosen and written answers."""
