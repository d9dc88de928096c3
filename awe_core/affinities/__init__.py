"""G, a file a kind; `joint` and `stored` are the two interfaces."""
