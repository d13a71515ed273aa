"""Part I, text: from bytes to token shards."""
