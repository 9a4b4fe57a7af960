"""Reported messages in, the campaign of each later message out.

A generation is one whole state of ``RUN/memory``: three files, of which ``manifest.json`` names the
others and is renamed into place last. Writers make a new generation under a lock; a reader opens
one and holds it.
"""
