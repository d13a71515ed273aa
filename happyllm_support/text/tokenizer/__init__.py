"""Byte-level BPE, chapter 01.

The modules in reading order:

    pretokenize                  cut text into pieces that merges may not cross
    chunks, counting             count the pieces of text of any size
    bpe_naive, bpe, pair_index   learn merges: by the textbook, what a model is, fast
    merging, encoder             apply merges to one piece, to a text
    streaming                    text and bytes that arrive in parts
    backends                     merges applied by tiktoken's core, or by ours
    tokenizer                    what everything else uses
    tokenizer_file               its file
    formats                      the same merges in other programs
    token_widget                 the same merges in a page, to play with
"""
