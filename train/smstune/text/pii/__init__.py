"""A message in, the personal information in it out, or the message with placeholders."""
