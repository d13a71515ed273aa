"""Part I, text: from bytes to token shards. Read the modules in this order.

Byte-level BPE, chapter 01:
    pretokenize                         cut text into pieces that merges may not cross
    chunks, counting, counting_worker   count the pieces of text of any size, in several processes
    bpe_naive, bpe, pair_index          learn merges: the textbook's way, what a model is, and the fast way
    merging, encoder                    apply merges to one piece, to a text
    streaming                           text and bytes that arrive in parts
    tokenizer, tokenizer_file           what everything else uses, and its file
    tiktoken_core, vocabulary, exchange, sentencepiece_reader   the same merges in other programs
    token_widget                        the same merges in a page, to play with

The story world, chapter 02:
    grammar_rules, grammar, grammar_exact   texts made by chance, and what is known of them without sampling
    storyworld_lexicon, storyworld_plots, storyworld_village, storyworld_harbour   the words and the plots
    storyworld, storyworld_tasks            stories to sample and score, tasks with answers that can be checked

Corpora, chapter 02:
    transfer, download, registry        files from the network, verified; the corpora that have a name
    documents, python_docs, corpora     any source as a stream of documents
    cleaning, near_duplicates, splits   what is removed, and what may not be on both sides

Token shards, chapter 02:
    shards, dataset, dataset_writer     ids in files that are mapped into memory
    parallel, prepare                   from documents to a dataset, in several processes
    in_memory                           the same without a folder, for text that is made or small
    packing, batches                    rows of ids for a model, the only module here that knows torch
"""
