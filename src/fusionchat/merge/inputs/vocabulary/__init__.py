"""Models whose vocabularies differ."""
