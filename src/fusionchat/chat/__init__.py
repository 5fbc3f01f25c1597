"""Chat with a fused model, or any other, in a terminal."""
