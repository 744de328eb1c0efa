"""Turn tables of captions, from wherever they come, into labelled ones by the classes that their texts name."""
