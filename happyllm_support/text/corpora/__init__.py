"""Corpora, chapter 02: any source as a stream of documents.

    transfer, download    files from the network, resumed and verified
    documents             your own files, document by document
    python_docs           real English on every machine
    registry, access      the corpora that have a name, and one door to all of them
    cleaning, near_duplicates, splits   what is removed, what may not be on both sides
"""
