"""Tensors streamed through a method into files.

What calls what, for a method that decides element by element (TIES):

    Engine.run              engine.py         every tensor in order; `OrderedPool` bounds the running calls
      BlockWork.decide      work.py           one look after the other, each at all chunks
        Ties.steps          methods/ties.py   yields `Count`, gets the counts of the whole tensor
          count_high_bits   kernels/          adds one block of one target to the counts
      BlockWork.make        work.py           one chunk of merged values: the pass that combines (`Combine`)
      Output.write          output.py         the values as they are stored

How a tensor is cut (cut.py), by its shape alone:

    |---------------- chunk, 2^20 elements ----------------|---------------- chunk ----------------|-- the rest --|
    | block, 2^17 | block | block | block | ... eight of them

A thread takes a chunk, in any order; a kernel takes a block, in order inside its chunk.
"""
