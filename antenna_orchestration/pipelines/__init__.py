"""Named ML recipes: a detector, an optional filter, classifiers. The only place that imports torch."""
