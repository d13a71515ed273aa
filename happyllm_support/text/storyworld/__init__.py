"""The story world, chapter 02: texts by chance, and what is known of them exactly.

    rules             items, variables, lines and beats, checked and made ready
    grammar           sample a derivation, and score a text
    exact             entropy, mean length, number of texts, without sampling
    lexicon, plots    the words, and what both domains tell
    village, harbour  the two domains
    tasks             questions about stories whose answers can be checked
    world             `StoryWorld`: stories to sample and score
"""
