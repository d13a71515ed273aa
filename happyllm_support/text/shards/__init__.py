"""Token shards, chapter 02: ids on disk, and rows of ids for a model.

The modules in reading order:

    arrays                    the types of arrays in this room
    shard_header, shard       one file of ids, mapped into memory
    dataset, dataset_writer   a folder of shards, one set per split
    inputs, prepare           from documents to a dataset, in several processes
    in_memory                 the same without a folder, for text that is made or small
    packing                   which piece of which document lies in which row
    row_order                 which rows lie in which step of an epoch
    batches                   deterministic, resumable batches; knows torch
"""
