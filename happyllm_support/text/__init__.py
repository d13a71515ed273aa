"""Part I, text: from bytes to token shards. Read the rooms in this order.

Chapter 01:
    tokenizer     byte-level BPE: cut, count, learn merges, apply them, stream

Chapter 02:
    storyworld    stories from a grammar whose entropy is known exactly
    corpora       any source as a stream of documents: downloaded, cleaned, split
    shards        ids in files that are mapped into memory, and batches of them

Rooms import each other in one direction: `storyworld`, then `corpora`, `tokenizer` and
`shards`. Only `shards.batches` knows torch.
"""
