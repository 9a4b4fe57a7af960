"""The parts of a report in, HTML or Markdown out."""
