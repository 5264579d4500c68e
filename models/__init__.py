"""Models as plain functions: `python train_cifar.py --model NAME` trains the module of that name.

A model is a module with two functions:

    init(rng, ...) -> (params, state)
    apply(params, state, x, *, train) -> (logits, state)

and, if it wants training images to start from, a constant

    INIT_IMAGES = 5000   # then init(rng, images=x): the first 5,000 (or as many as there are), normalised

`init` draws the parameters with the NumPy generator `rng`; its other arguments default to what
CIFAR-10 needs. `params` is what is trained, `state` what a model keeps beside it (the running
statistics of batch normalisation; `{}` if nothing): nested dicts of arrays. `apply` takes images
x `(N, H, W, C)` to logits `(N, classes)`. It draws no random numbers but through minigraph's
operations (`dropout`), so that a training run can be repeated and resumed.
"""
