"""The stages: each reads artifacts, calls pure code and writes artifacts.

    corpus -> represent -> align -> fuse -> distill -> merge -> evaluate -> report

`pipeline` lists and runs them; `names` has the names of their jobs, `variants` what a recipe makes.
"""
