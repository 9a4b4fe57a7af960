"""A teacher's run folder and messages in; out come its answers, beside the rows to train on."""
