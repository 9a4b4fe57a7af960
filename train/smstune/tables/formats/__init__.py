"""A file of one format in, its rows out; for parquet and workbooks also the way back."""
