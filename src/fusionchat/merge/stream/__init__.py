"""Tensors streamed through a method into files."""
