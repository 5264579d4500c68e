"""Mistakes that a type checker has to report: each line that ends in `# mistake`, and no other."""

import numpy as np

import minigraph as mg


def loss(w: mg.Tensor, x: mg.Tensor, scale: float = 1.0) -> mg.Tensor:
    return ((w @ x) * scale).sum()


t = mg.Tensor([1.0, 2.0], requires_grad=True)

# names and arguments of operations
mg.rleu(t)  # mistake
mg.softmax()  # mistake
mg.sum(t, axes=0)  # mistake
mg.sum(t, axis="rows")  # mistake
mg.softmax(t, -1, True)  # mistake
mg.conv2d(t)  # mistake
mg.conv2d(t, t, paddng=1)  # mistake
mg.max_pool(t, 2, 2)  # mistake
mg.cross_entropy(t, [0], smoothing=0.1)  # mistake
mg.batch_norm(t, None, None, t, t)  # mistake
mg.concatenate(t, dim=0)  # mistake
mg.relu(None)  # mistake
mg.tanh(t).exp()  # mistake

# Tensors
mg.Tensor([1.0], require_grad=True)  # mistake
t.reshpe(2, 1)  # mistake
t.sum(axes=0)  # mistake
t.requires_grad = True  # mistake
t.backward(create_grph=True)  # mistake

# transforms keep the parameters of what they wrap
mg.grad(loss)(t)  # mistake
mg.value_and_grad(loss)(t, t, factor=2.0)  # mistake
mg.value_and_grad(loss)(t, "x")  # mistake
mg.checkpoint(loss)(t, t, "scale")  # mistake
mg.hessian(loss, argnum=0)  # mistake
mg.grad(3)  # mistake
value, grads, aux = mg.value_and_grad(loss)(t, t)  # mistake

# primitives of one's own keep theirs
@mg.primitive
def twice(x: mg.ArrayLike, times: int = 2) -> np.ndarray:
    return np.asarray(x) * times


twice(t, time=3)  # mistake
twice(t, "2")  # mistake
twice.jvp(loss)  # mistake

# modules
mg.optim.SGD(0.1, momentm=0.9)  # mistake
mg.optim.Adagrad(0.1)  # mistake
mg.tree.leaf(t)  # mistake
print(mg.serialise)  # mistake
