"""The story world, chapter 02: texts by chance, and what is known of them exactly.

The modules in reading order:

    rules                 items, variables, lines and beats, checked and compiled
    grammar               sample a derivation, and tell it
    reading               find the derivation of a text, and its probability
    exact                 entropy, mean length, number of texts, without sampling
    ambiguity             the proof that a text has one derivation
    lexicon               the words
    plots, shared_plots   what a plot is, and those that both domains tell
    village, harbour      the two domains
    tasks                 questions about stories whose answers can be checked
    world                 `StoryWorld`: stories to sample and score
"""
