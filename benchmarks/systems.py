"""The systems that are compared, each doing the same works: same weights, same layers, same batch, float32.

A system is a class made with `(threads, microbatch)`; `harness.SYSTEMS` lists them and what each can do. A method takes
a work's inputs and returns `(run, results)`: `run()` does the work once, `results()` returns named arrays in
minigraph's layout, for the comparison with the other systems.
"""

import importlib
import os
import tempfile

import numpy as np
from harness import MODELS

LR, MOMENTUM = 1e-4, 0.9  # a small step: hundreds of them on one batch must not change what is computed
EPS, BN_MOMENTUM = 1e-12, 0.4  # of models/airnet.py


class Minigraph:
    float64 = True  # computes in float64 when given that

    def __init__(self, threads, microbatch=None):
        import minigraph

        self.mg = minigraph
        self.threads = minigraph.parallel.Threads(threads)
        self.options = {"executor": self.threads, "microbatch": microbatch}

    def value_and_grad(self, loss_fn, has_aux=False):
        return self.mg.parallel.value_and_grad(loss_fn, has_aux=has_aux, **self.options)

    def trainer(self, model, params, state):
        """step(x, y) -> loss"""
        mg, apply = self.mg, model_module(model).apply
        params, state = nest(params), nest(state)
        opt = mg.optim.SGD(LR, momentum=MOMENTUM)
        now = {"params": params, "state": state, "opt": opt.init(params)}

        def loss_fn(params, x, y):
            logits, state = apply(params, now["state"], x, train=True)
            return mg.cross_entropy(logits, y), state

        value_and_grad = self.value_and_grad(loss_fn, has_aux=True)

        def step(x, y):
            (loss, now["state"]), grads = value_and_grad(now["params"], x, y)
            now["params"], now["opt"] = opt.step(now["params"], grads, now["opt"])
            return float(loss)

        return step

    def batch(self, x, y):
        return x, y

    def train(self, model, params, state, x, y):
        step = self.trainer(model, params, state)
        params, state = nest(params), nest(state)

        def results(microbatch=None):
            sizes = []

            def loss_fn(params, x, y):
                sizes.append(len(x))
                return self.mg.cross_entropy(model_module(model).apply(params, state, x, train=True)[0], y)

            loss, grads = self.value_and_grad(loss_fn)(params, x, y)
            return {"loss": loss, **dict(self.mg.tree.items(grads)), "microbatch": np.int64(max(sizes))}

        return lambda: step(x, y), results

    def infer(self, model, params, state, x):
        params, state = nest(params), nest(state)
        apply = model_module(model).apply

        def run():
            return self.mg.parallel.map(lambda x: apply(params, state, x, train=False)[0], x, **self.options)

        return run, lambda: {"logits": run()}

    def conv(self, x, w, g):
        """The outputs and input gradients stay in parts, as they do in training; all are held to the end of the run."""
        mg, n = self.mg, len(x)
        size = self.options["microbatch"] or min(64, -(-n // self.threads.workers))  # as mg.parallel does

        def part(i):
            x_part, g_part = mg.parallel.split((x, g), i * size, (i + 1) * size)
            y, pullback = mg.vjp(lambda x, w: mg.conv2d(x, w, padding=1), x_part, w)
            return y, *pullback(g_part, retain_graph=False)

        def run():
            y, gx, gw = zip(*self.threads.run(part, -(-n // size)), strict=True)
            total = gw[0]
            for term in gw[1:]:
                total += term
            return y, gx, total

        def results():
            y, gx, gw = run()
            return {"y": np.concatenate(y), "gx": np.concatenate(gx), "gw": gw}

        return run, results

    def tape(self, x, c, ops):
        return leaf_tape(self.mg.Tensor(x, requires_grad=True), c, ops)

    def scalar(self, a, b):
        return leaf_scalars(lambda v: self.mg.Tensor(v, requires_grad=True), self.mg.relu, a, b)


class Plain(Minigraph):
    """Without `parallel`: the whole batch at once, on the calling thread and BLAS's own."""

    def value_and_grad(self, loss_fn, has_aux=False):
        return self.mg.value_and_grad(loss_fn, has_aux=has_aux)


class ByHand:
    """A work in calls of NumPy and of our kernels alone, in the order that takes least: as if the graph cost nothing.

    In the cnn, relu and bias come after the pool, where they are a quarter of the work. In airnet, normalisation and
    SiLU are done together, block by block in the cache; for inference, normalisation is in the weights beforehand.
    """

    float64 = True
    SAME, NONE = ((1, 1), (1, 1)), ((0, 0), (0, 0))  # paddings
    BLOCKS = ("block1", "block2", "block3")  # of airnet

    def __init__(self, threads, microbatch=None):
        from minigraph import tree
        from minigraph.kernels import conv, memory, norm, pool, special
        from minigraph.parallel import Threads

        self.tree, self.conv, self.pool, self.gate, self.sums = tree, conv, pool, special.gate, norm.column_sums
        self.empty, self.batch_stats, self.sigmoid = memory.empty, norm.batch_stats, special.quick_sigmoid
        self.threads, self.part = Threads(threads), microbatch or 64

    def train(self, model, params, state, x, y):
        flat, p = self.tree.flatten(params)
        gradient, velocity, scratch = np.zeros_like(flat), np.zeros_like(flat), np.empty_like(flat)
        g = self.tree.unravel(params, gradient)
        gradients = getattr(self, model)(p, g, state, x, y)

        def run():
            loss = gradients()
            np.multiply(velocity, MOMENTUM, out=velocity)
            np.multiply(gradient, LR, out=scratch)
            np.subtract(velocity, scratch, out=velocity)
            np.add(flat, velocity, out=flat)
            return float(loss)

        return run, lambda microbatch: {"loss": gradients(), **g}

    def mlp(self, p, g, _state, x, y):
        x, ones = x.reshape(len(x), -1), np.ones(len(x), x.dtype)
        h, d = np.empty((2, len(x), len(p["hidden.b"])), x.dtype)

        def gradients():
            np.matmul(x, p["hidden.w"], out=h)
            np.add(h, p["hidden.b"], out=h)
            np.maximum(h, 0, out=h)
            loss, e = self.cross_entropy(h @ p["head.w"] + p["head.b"], y, len(y))
            np.matmul(h.T, e, out=g["head.w"])
            np.matmul(ones, e, out=g["head.b"])
            np.matmul(e, p["head.w"].T, out=d)
            np.multiply(d, h > 0, out=d)
            np.matmul(x.T, d, out=g["hidden.w"])
            np.matmul(ones, d, out=g["hidden.b"])
            return loss

        return gradients

    def cnn(self, p, g, _state, x, y):
        def part(x, y, n):
            found, (h, kept) = {}, self.features(p, x, indexed=True)
            rows = h.reshape(len(h), -1)
            loss, e = self.cross_entropy(rows @ p["head.w"] + p["head.b"], y, n)
            found["head.w"], found["head.b"] = rows.T @ e, self.sums(e)
            d = (e @ p["head.w"].T).reshape(h.shape)
            for name, image in (("conv2", False), ("conv1", True)):
                source, y_shape, pooled, index = kept.pop()
                d = self.gate(d, pooled > 0, d)
                found[f"{name}.b"] = self.sums(d)
                d = self.pool.max_pool_scatter(d, index, y_shape[1:3], (2, 2), (2, 2), self.NONE)
                d, found[f"{name}.w"] = self.conv_grads(d, source, p[f"{name}.w"], self.SAME, image)
            return loss, found

        return self.in_parts(part, g, x, y)

    def in_parts(self, part, g, x, y):
        """A function that fills the gradients g with the sums of what `part` finds, and returns the loss."""

        def gradients():
            def run(i):
                at = slice(i * self.part, (i + 1) * self.part)
                return part(x[at], y[at], len(y))

            parts = self.threads.run(run, -(-len(x) // self.part))
            for name, total in g.items():
                total[...] = sum(found[name] for _, found in parts)
            return sum(loss for loss, _ in parts)

        return gradients

    def conv_grads(self, d, x, w, padding, image=False):
        """The gradients of x, or None for an image, and of w."""
        size, kernel = x.shape[1:3], w.shape[:2]
        return self.conv.conv2d_grads(d, x, None if image else w, size, kernel, padding=padding)[:2]

    def airnet(self, p, g, s, x, y):
        def normed(z, bias):
            """SiLU of the normalised z, and what the gradient needs."""
            mean, var = self.batch_stats(z)
            inv = 1 / np.sqrt(var + z.dtype.type(EPS))
            y, slope = self.silu(z, inv, bias - mean * inv)
            return y, (z, slope, mean, inv)

        def normed_grads(d, z, slope, mean, inv):
            """The gradient of z, written over d, and of the bias; see `kernels/norm.py` for the formula."""
            n, channels = z.size // len(mean), len(mean)
            ones, total, dot = np.ones(len(z), z.dtype), 0, 0
            for at, wide_d, wide_z, wide_slope in blocks(d, z, slope):
                wide_d *= wide_slope
                total = total + ones[at] @ wide_d
                dot = dot + np.einsum("nc,nc->c", wide_d, wide_z)
            total, dot = (v.reshape(-1, channels).sum(0) for v in (total, dot))
            r = -inv * inv * (dot - mean * total) / n
            wide_r, wide_s, wide_a = (np.tile(v, d[0].size // channels) for v in (r, -total / n - r * mean, inv))
            for _, wide_d, wide_z in blocks(d, z):
                t = wide_z * wide_r
                t += wide_s
                wide_d += t
                wide_d *= wide_a
            return d, total

        def part(x, y, n):
            z = self.conv.conv2d(x, s["whiten"], bias=p["whiten.b"])
            h, slope = self.silu(z)
            kept = []
            for name in self.BLOCKS:
                odd = before_pool(h)
                z = self.conv.conv2d(h, p[f"{name}.conv1"], padding=odd)
                pooled, index = self.pool.max_pool(z, (2, 2), (2, 2), self.NONE, True)
                first, kept1 = normed(pooled, p[f"{name}.b1"])
                second, kept2 = normed(
                    self.conv.conv2d(first, p[f"{name}.conv2"], padding=self.SAME), p[f"{name}.b2"]
                )
                kept.append((name, h, odd, z.shape[1:3], index, kept1, first, kept2))
                h = second
            top = h.max((1, 2))
            loss, e = self.cross_entropy(top @ p["head"] * (1 / 9), y, n)
            e *= 1 / 9
            found = {"head": top.T @ e}
            d = (h == top[:, None, None]) * (e @ p["head"].T)[:, None, None]
            for name, source, odd, size, index, kept1, first, kept2 in reversed(kept):
                d, found[f"{name}.b2"] = normed_grads(d, *kept2)
                d, found[f"{name}.conv2"] = self.conv_grads(d, first, p[f"{name}.conv2"], self.SAME)
                d, found[f"{name}.b1"] = normed_grads(d, *kept1)
                d = self.pool.max_pool_scatter(d, index, size, (2, 2), (2, 2), self.NONE)
                d, found[f"{name}.conv1"] = self.conv_grads(d, source, p[f"{name}.conv1"], odd)
            d *= slope
            found["whiten.b"] = self.sums(d)
            return loss, found

        return self.in_parts(part, g, x, y)

    def silu(self, z, scale=None, shift=None, slopes=True):
        """SiLU of z scale + shift, and its derivative there. Without `slopes` it is written over z."""
        y, slope = (self.empty(z.shape, z.dtype), self.empty(z.shape, z.dtype)) if slopes else (z, None)
        if scale is not None:
            scale, shift = (np.tile(v, z[0].size // len(v)) for v in (scale, shift))
        for at, wide_z, wide_y in blocks(z, y):
            if scale is not None:
                np.multiply(wide_z, scale, out=wide_y)
                wide_z = np.add(wide_y, shift, out=wide_y)
            sigmoid = np.empty_like(wide_z)
            self.sigmoid(wide_z, sigmoid)
            np.multiply(wide_z, sigmoid, out=wide_y)
            if slopes:  # s + y (1 - s)
                ((_, t),) = blocks(slope[at])
                np.subtract(1, sigmoid, out=t)
                t *= wide_y
                t += sigmoid
        return y, slope

    def features(self, p, h, indexed):
        """The maps after both convolutions, and for each what its gradient needs."""
        kept = []
        for name in ("conv1", "conv2"):
            y = self.conv.conv2d(h, p[f"{name}.w"], padding=self.SAME)
            pooled, index = self.pool.max_pool(y, (2, 2), (2, 2), self.NONE, indexed)
            np.add(pooled, p[f"{name}.b"], out=pooled)
            np.clip(pooled, 0, np.inf, out=pooled)
            kept.append((h, y.shape, pooled, index))
            h = pooled
        return h, kept

    def cross_entropy(self, z, y, n):
        """The sum of the losses of logits z over n, and the gradient of it, in place of z."""
        rows = np.arange(len(y))
        z -= z.max(1, keepdims=True)
        picked = z[rows, y]
        np.exp(z, out=z)
        total = z.sum(1, keepdims=True)
        loss = (np.log(total[:, 0]) - picked).sum() / n
        z /= total
        z[rows, y] -= 1
        z *= 1 / n
        return loss, z

    def infer(self, model, params, state, x):
        infer = getattr(self, f"infer_{model}")(params, state)
        logits = np.empty((len(x), 10), x.dtype)

        def part(i):
            at = slice(i * self.part, (i + 1) * self.part)
            logits[at] = infer(x[at])

        def run():
            self.threads.run(part, -(-len(x) // self.part))
            return logits

        return run, lambda: {"logits": run()}

    def infer_cnn(self, p, _state):
        def infer(x):
            h, _ = self.features(p, x, indexed=False)
            return h.reshape(len(h), -1) @ p["head.w"] + p["head.b"]

        return infer

    def infer_airnet(self, p, s):
        def folded(name, i):
            """Weights and bias of a convolution with normalisation in them. A positive scale commutes with the pool."""
            inv = 1 / np.sqrt(s[f"{name}.var{i}"] + s[f"{name}.var{i}"].dtype.type(EPS))
            return p[f"{name}.conv{i}"] * inv, p[f"{name}.b{i}"] - s[f"{name}.mean{i}"] * inv

        layers = [(*folded(name, 1), *folded(name, 2)) for name in self.BLOCKS]

        def infer(x):
            h, _ = self.silu(self.conv.conv2d(x, s["whiten"], bias=p["whiten.b"]), slopes=False)
            for w1, b1, w2, b2 in layers:
                h = self.conv.conv2d(h, w1, padding=before_pool(h), bias=b1)
                h, _ = self.silu(self.pool.max_pool(h, (2, 2), (2, 2), self.NONE, False)[0], slopes=False)
                h, _ = self.silu(self.conv.conv2d(h, w2, padding=self.SAME, bias=b2), slopes=False)
            return h.max((1, 2)) @ p["head"] * (1 / 9)

        return infer


def before_pool(h):
    """The padding of a convolution in airnet whose maps are pooled next: an odd last row or column is not computed."""
    return tuple((1, 0) if size % 2 else (1, 1) for size in h.shape[1:3])


def blocks(*arrays):
    """Of contiguous arrays (N, ...) some examples at a time: where they are, then each array as rows (n, entries)."""
    row = arrays[0][0].size
    step = max(1, (1 << 19) // (row * arrays[0].itemsize))
    for i in range(0, len(arrays[0]), step):
        at = slice(i, i + step)
        yield at, *(array[at].reshape(-1, row) for array in arrays)


class Torch:
    """PyTorch in one of its modes; the subclasses say which."""

    channels_last, compiled, float64 = True, False, True

    def __init__(self, threads, microbatch=None):
        import torch

        self.torch, self.F = torch, torch.nn.functional
        torch.set_num_threads(threads)

    # From minigraph's layouts: NHWC to NCHW, HWIO to OIHW; the head of the cnn from rows (h, w, c) to rows (c, h, w).

    def image(self, x):
        x = self.torch.from_numpy(x).permute(0, 3, 1, 2)  # a view, and it is channels_last
        return x if self.channels_last else x.contiguous()

    def batch(self, x, y):
        return self.image(x), self.torch.from_numpy(y)

    def parameter(self, path, a):
        t = self.torch.from_numpy(np.array(a))
        if t.ndim == 4:
            form = self.torch.channels_last if self.channels_last else self.torch.contiguous_format
            t = t.permute(3, 2, 0, 1).contiguous(memory_format=form)
        elif path == "head.w" and (side := grid_side(a)):
            t = t.reshape(side, side, 64, -1).permute(2, 0, 1, 3).flatten(0, 2).contiguous()
        return t

    def to_minigraph(self, path, t):
        if t.ndim == 4:
            t = t.permute(2, 3, 1, 0)
        elif path == "head.w" and (side := grid_side(t)):
            t = t.reshape(64, side, side, -1).permute(1, 2, 0, 3).flatten(0, 2)
        return t.detach().numpy()

    def cnn(self, p, s, x, train):
        F, h = self.F, x
        for name in ("conv1", "conv2"):
            h = F.max_pool2d(F.relu(F.conv2d(h, p[f"{name}.w"], p[f"{name}.b"], padding=1), inplace=True), 2)
        return h.flatten(1) @ p["head.w"] + p["head.b"]

    def mlp(self, p, s, x, train):
        h = self.F.relu(x.flatten(1) @ p["hidden.w"] + p["hidden.b"], inplace=True)
        return h @ p["head.w"] + p["head.b"]

    def airnet(self, p, s, x, train):
        F = self.F

        def norm(h, block, i):
            mean, var = s[f"{block}.mean{i}"], s[f"{block}.var{i}"]
            h = F.batch_norm(h, mean, var, None, p[f"{block}.b{i}"], train, BN_MOMENTUM, EPS)
            return F.silu(h)

        h = F.silu(F.conv2d(x, s["whiten"], p["whiten.b"]))
        for block in ("block1", "block2", "block3"):
            # As in minigraph's model, the last row and column, which the pool would drop, are never computed.
            h = F.max_pool2d(F.conv2d(F.pad(h, (1, 0, 1, 0)), p[f"{block}.conv1"]), 2)
            h = norm(h, block, 1)
            h = norm(F.conv2d(h, p[f"{block}.conv2"], padding=1), block, 2)
        return h.amax((2, 3)) @ p["head"] * (1 / 9)

    def load(self, params, state):
        p = {path: self.parameter(path, a).requires_grad_() for path, a in params.items()}
        return p, {path: self.parameter(path, a) for path, a in state.items()}

    def loss(self, model, p, s):
        def loss(x, y):
            return self.F.cross_entropy(getattr(self, model)(p, s, x, True), y)

        return self.torch.compile(loss, dynamic=False) if self.compiled else loss

    def trainer(self, model, params, state):
        p, s = self.load(params, state)
        loss_fn = self.loss(model, p, s)
        opt = self.torch.optim.SGD(p.values(), LR, MOMENTUM, fused=True)

        def step(x, y):
            opt.zero_grad(set_to_none=True)
            loss = loss_fn(x, y)
            loss.backward()
            opt.step()
            return loss.item()

        return step

    def train(self, model, params, state, x, y):
        x, y = self.batch(x, y)

        def results(microbatch):
            """Over the micro-batches that minigraph had, so that batch-norm's statistics are of the same examples."""
            p, s = self.load(params, state)
            loss_fn, total = self.loss(model, p, s), 0
            for i in range(0, len(x), microbatch):
                part = slice(i, i + microbatch)
                loss = loss_fn(x[part], y[part]) * (len(y[part]) / len(y))
                loss.backward()
                total += loss.detach().numpy()
            grads = {path: self.to_minigraph(path, t.grad) for path, t in p.items()}
            return {"loss": total, **grads}

        step = self.trainer(model, params, state)
        return lambda: step(x, y), results

    def infer(self, model, params, state, x):
        p, s = self.load(params, state)
        x = self.image(x)

        def apply(x):
            return getattr(self, model)(p, s, x, False)

        if self.compiled:
            apply = self.torch.compile(apply, dynamic=False)

        def run():
            with self.torch.no_grad():
                return apply(x)

        return run, lambda: {"logits": run().numpy()}

    def conv(self, x, w, g):
        x, g = self.image(x).requires_grad_(), self.image(g)
        w = self.parameter("w", w).requires_grad_()
        conv2d = self.torch.compile(self.F.conv2d, dynamic=False) if self.compiled else self.F.conv2d

        def run():
            y = conv2d(x, w, padding=1)
            return y, *self.torch.autograd.grad(y, (x, w), g)

        def results():
            y, gx, gw = run()
            y, gx = (t.detach().permute(0, 2, 3, 1).numpy() for t in (y, gx))
            return {"y": y, "gx": gx, "gw": self.to_minigraph("w", gw)}

        return run, results

    def tape(self, x, c, ops):
        return leaf_tape(self.torch.from_numpy(x).requires_grad_(), self.torch.from_numpy(c), ops)

    def scalar(self, a, b):
        return leaf_scalars(
            lambda v: self.torch.tensor(v, requires_grad=True), self.torch.relu, a, b
        )


class TorchEager(Torch):
    channels_last = False


class TorchCompile(Torch):
    compiled, float64 = True, False  # another compilation, of the same functions as above


class OnnxRuntime:
    """The graph that `mg.onnx.export` writes, with the model's own weights."""

    float64 = False

    def __init__(self, threads, microbatch=None):
        import onnxruntime

        self.session = onnxruntime.InferenceSession
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads

    def infer(self, model, params, state, x):
        import minigraph.onnx

        def logits(params, state, x):
            return model_module(model).apply(params, state, x, train=False)[0]

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.onnx")
            minigraph.onnx.export(logits, (nest(params), nest(state), x[:8]), path)
            session = self.session(path, self.options, providers=["CPUExecutionProvider"])

        def run():
            return session.run(None, {"x": x})

        return run, lambda: {"logits": run()[0]}


class Jax:
    float64 = False

    def __init__(self, threads, microbatch=None):
        import jax

        self.jax = jax

    def cnn(self, p, x):
        jax = self.jax
        for name in ("conv1", "conv2"):
            layout = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(x, p[f"{name}.w"], (1, 1), "SAME", dimension_numbers=layout)
            x = jax.nn.relu(x + p[f"{name}.b"])
            x = jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return x.reshape(len(x), -1) @ p["head.w"] + p["head.b"]

    def train(self, model, params, state, x, y):
        jax, jnp = self.jax, self.jax.numpy

        def loss_fn(p, x, y):
            return -jnp.take_along_axis(jax.nn.log_softmax(self.cnn(p, x)), y[:, None], 1).mean()

        @jax.jit
        def step(p, v, x, y):
            loss, grads = jax.value_and_grad(loss_fn)(p, x, y)
            v = jax.tree.map(lambda v, g: MOMENTUM * v + g, v, grads)
            return loss, jax.tree.map(lambda p, v: p - LR * v, p, v), v

        x, y, p = jnp.asarray(x), jnp.asarray(y, jnp.int32), jax.tree.map(jnp.asarray, params)
        now = [p, jax.tree.map(jnp.zeros_like, p)]

        def run():
            loss, *now[:] = step(*now, x, y)
            jax.block_until_ready(now)
            return float(loss)

        def results(microbatch):
            loss, grads = jax.jit(jax.value_and_grad(loss_fn))(p, x, y)
            return {"loss": np.asarray(loss), **{path: np.asarray(g) for path, g in grads.items()}}

        return run, results

    def infer(self, model, params, state, x):
        apply = self.jax.jit(self.cnn)
        p, x = self.jax.tree.map(self.jax.numpy.asarray, (params, x))
        return lambda: apply(p, x).block_until_ready(), lambda: {"logits": np.asarray(apply(p, x))}


class MyGrad:
    float64 = True

    def __init__(self, threads, microbatch=None):
        import mygrad
        from mygrad.nnet import layers, losses

        self.mygrad, self.layers, self.losses = mygrad, layers, losses

    def train(self, model, params, state, x, y):
        """Its maps are NCHW."""
        p = {path: self.mygrad.tensor(np.array(a)) for path, a in params.items()}
        v = {path: np.zeros_like(a) for path, a in params.items()}
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))

        def loss_and_gradients():
            h = x
            for name in ("conv1", "conv2"):
                w, b = p[f"{name}.w"].transpose(3, 2, 0, 1), p[f"{name}.b"].reshape(1, -1, 1, 1)
                h = self.mygrad.nnet.relu(self.layers.conv_nd(h, w, stride=1, padding=1) + b)
                h = self.layers.max_pool(h, (2, 2), 2)
            h = h.transpose(0, 2, 3, 1).reshape(len(x), -1)
            loss = self.losses.softmax_crossentropy(self.mygrad.matmul(h, p["head.w"]) + p["head.b"], y)
            loss.backward()
            return loss

        def run():
            loss_and_gradients()
            for path, t in p.items():
                v[path] = MOMENTUM * v[path] + t.grad
                t.data[...] -= LR * v[path]
                t.null_grad()

        def results(microbatch):
            loss = loss_and_gradients()
            return {"loss": loss.data, **{path: np.array(t.grad) for path, t in p.items()}}

        return run, results

    def tape(self, x, c, ops):
        x = self.mygrad.tensor(x)

        def run():
            chain(x, c, ops).sum().backward()

        def results():
            run()
            return {"grad": x.grad}

        return run, results

    def scalar(self, a, b):
        def relu(x):
            return self.mygrad.maximum(x, 0.0)

        def run():
            ta, tb = self.mygrad.tensor(a), self.mygrad.tensor(b)
            scalars(ta, tb, relu).backward()
            return {"a": ta.grad, "b": tb.grad}

        return run, run


class Autograd:
    """HIPS autograd. It has no fast convolution: this is im2col in its NumPy."""

    float64 = True

    def __init__(self, threads, microbatch=None):
        import autograd
        import autograd.numpy

        self.autograd, self.np = autograd, autograd.numpy

    def cnn(self, p, x):
        np = self.np
        for name in ("conv1", "conv2"):
            n, h, w, c = x.shape
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "constant")
            columns = [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]
            columns = np.concatenate(columns, -1).reshape(-1, 9 * c)
            x = np.maximum(np.dot(columns, p[f"{name}.w"].reshape(9 * c, -1)) + p[f"{name}.b"], 0)
            x = np.max(np.max(x.reshape(n, h // 2, 2, w // 2, 2, -1), 4), 2)
        return np.dot(x.reshape(len(x), -1), p["head.w"]) + p["head.b"]

    def train(self, model, params, state, x, y):
        np = self.np

        def loss_fn(p):
            logits = self.cnn(p, x)
            shifted = logits - np.max(logits, 1, keepdims=True)
            return np.mean(np.log(np.sum(np.exp(shifted), 1)) - shifted[np.arange(len(y)), y])

        p = {path: np.array(a) for path, a in params.items()}
        v = {path: np.zeros_like(a) for path, a in params.items()}
        value_and_grad = self.autograd.value_and_grad(loss_fn)

        def run():
            _, grads = value_and_grad(p)
            for path, g in grads.items():
                v[path] = MOMENTUM * v[path] + g
                p[path] = p[path] - LR * v[path]

        def results(microbatch):
            loss, grads = value_and_grad(p)
            return {"loss": loss, **grads}

        return run, results

    def tape(self, x, c, ops):
        grad = self.autograd.grad(lambda x: self.np.sum(chain(x, c, ops)))
        return lambda: grad(x), lambda: {"grad": grad(x)}

    def scalar(self, a, b):
        grad = self.autograd.grad(lambda a, b: scalars(a, b, lambda x: self.np.maximum(x, 0.0)), (0, 1))
        a, b = float(a), float(b)
        return lambda: grad(a, b), lambda: dict(zip("ab", grad(a, b), strict=True))


class Micrograd:
    float64 = True

    def __init__(self, threads, microbatch=None):
        from micrograd.engine import Value

        self.Value = Value

    def scalar(self, a, b):
        def run():
            va, vb = self.Value(float(a)), self.Value(float(b))
            scalars(va, vb, self.Value.relu).backward()
            return {"a": np.float64(va.grad), "b": np.float64(vb.grad)}

        return run, run


def grid_side(head):
    """The side of the map of 64 channels that the head of the cnn reads; 0 for the head of another model."""
    side = round((len(head) / 64) ** 0.5)
    return side if len(head) == 64 * side * side else 0


def chain(x, c, ops):
    """`ops` cheap operations, each on the result of the one before."""
    h = x
    for _ in range(ops // 2):
        h = h * c + x
    return h


def leaf_tape(x, c, ops):
    """The chain on a leaf tensor x, which `backward()` leaves its gradient in: minigraph and PyTorch alike."""

    def run():
        x.grad = None
        chain(x, c, ops).sum().backward()

    def results():
        run()
        return {"grad": x.grad.numpy()}

    return run, results


def scalars(a, b, relu):
    """Sixteen operations on numbers, of the kinds that micrograd's demo has."""
    c = a * b + b**3
    d = relu(c - a) / b + c
    e = (c - d) ** 2 + relu(a - d)
    return e / 2 + 10 / (e + 1)


def leaf_scalars(leaf, relu, a, b):
    """`scalars` on leaf tensors that `leaf` makes, minigraph and PyTorch alike."""

    def run():
        leaves = leaf(a), leaf(b)
        scalars(*leaves, relu).backward()
        return leaves

    def results():
        return {name: t.grad.numpy() for name, t in zip("ab", run(), strict=True)}

    return run, results


def arguments(work, rng):
    """The named parameters and state of a work of `MODELS`, and a batch of random images x and labels y."""
    from minigraph import tree  # only here: the processes of other systems do without

    model, batch, image = MODELS[work]
    options = {"image": image} if model == "mlp" else {}
    params, state = (dict(tree.items(part)) for part in model_module(model).init(rng, **options))
    x, y = rng.standard_normal((batch, *image), np.float32), rng.integers(0, 10, batch)
    return {"params": params, "state": state, "x": x, "y": y}


def nest(flat):
    """{"a.b": 1} -> {"a": {"b": 1}}"""
    tree = {}
    for path, leaf in flat.items():
        *parents, name = path.split(".")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
        node[name] = leaf
    return tree


def model_module(name):
    return importlib.import_module(f"models.{name}")
