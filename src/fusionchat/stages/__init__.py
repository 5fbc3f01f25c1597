"""The stages: each reads artifacts, calls pure code and writes artifacts.

    corpus -> represent -> align -> fuse -> distill -> merge -> evaluate -> report

`pipeline` lists and runs them; `names` says what their jobs are called, `rows` what a recipe makes.
"""
