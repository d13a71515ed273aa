"""Corpora, chapter 02: any source as a stream of documents.

The modules in reading order:

    transfer, download           files from the network, resumed and verified
    documents                    your own files, document by document
    python_docs                  real English on every machine
    named_corpus, registry       the corpora that have a name
    access                       one door to all of them
    cleaning, near_duplicates    what is removed
    splits                       what may not be on both sides
"""
