"""A configuration, a run or messages in, speeds on this machine out, compared with other tools."""
