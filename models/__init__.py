"""Models as plain functions: `python train_cifar.py --model NAME` trains the module of that name.

A model is a module with two functions:

    init(rng, ...) -> (params, state)
    apply(params, state, x, *, train) -> (logits, state)

`init` draws the parameters with the NumPy generator `rng`; its other arguments default to what
CIFAR-10 needs. `params` is what is trained, `state` what a model keeps beside it (the running
statistics of batch normalisation; `{}` if nothing): nested dicts of arrays. `apply` takes images
x `(N, H, W, C)` to logits `(N, classes)`. It draws no random numbers but through minigraph's
operations (`dropout`), so that a training run can be repeated and resumed.
"""
