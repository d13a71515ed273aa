"""Tokenizers of other programs, each in a file named after whom the format belongs to.

    gpt2_files       `encoder.json` and `vocab.bpe`: characters for bytes
    tiktoken         our merges in tiktoken's core
    huggingface      `tokenizer.json`, in and out
    sentencepiece    `.model` files, read for comparison
"""
