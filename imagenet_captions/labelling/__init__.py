"""Label the rows of any table of captions by the classes that their texts name."""
