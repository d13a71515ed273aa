"""The tested code behind the course *Happy-LLM from Scratch*.

The parts follow the parts of the book: `text`, `model`, `training`, `inference`,
`adaptation`, `serving`. Importing the package does no work and imports none of them.
"""

__version__ = "0.1.0"
