"""Tokenizers of other programs, each in a file named after whom the format belongs to.

The modules in reading order:

    gpt2_files       `encoder.json` and `vocab.bpe`: characters for bytes
    tiktoken         our merges as tiktoken's `Encoding`
    huggingface      `tokenizer.json`, in and out
    sentencepiece    `.model` files, read for comparison
"""
