"""What the papers do: dynamic time warping of tokens, least edit distance."""
