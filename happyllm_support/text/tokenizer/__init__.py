"""Byte-level BPE, chapter 01. Read the modules in this order.

    pretokenize               cut text into pieces that merges may not cross
    chunks, counting          count the pieces of text of any size, in several processes
    bpe_naive, bpe, pair_index   learn merges: the textbook's way, what a model is, fast
    merging, encoder          apply merges to one piece, to a text
    streaming                 text and bytes that arrive in parts
    tokenizer                 what everything else uses
    tokenizer_file            its file
    formats                   the same merges in other programs
    token_widget              the same merges in a page, to play with
"""
