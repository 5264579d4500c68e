"""A pendulum fitted through Runge & Kutta's method of fourth order: gradients through time, and the fit itself."""

import numpy as np
import pytest

import minigraph as mg

STEP, STEPS = 0.05, 60


def path(parameters, start):
    """The angles of a damped pendulum, theta'' = -w^2 sin(theta) - c theta', at STEPS times."""
    w2, c = parameters[0] ** 2, parameters[1]

    def slope(state):
        return mg.stack([state[1], -w2 * mg.sin(state[0]) - c * state[1]])

    angles, state = [], start
    for _ in range(STEPS):
        k1 = slope(state)
        k2 = slope(state + STEP / 2 * k1)
        k3 = slope(state + STEP / 2 * k2)
        k4 = slope(state + STEP * k3)
        state = state + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        angles.append(state[0])
    return mg.stack(angles)


TRUE, START = np.array([2.0, 0.3]), np.array([1.2, 0.0])


def test_small_swings_have_a_closed_form():
    """Of a tiny swing without damping, theta = a cos(w t), so d theta / d w = -a t sin(w t), to the error of RK4."""
    a, w, t = 1e-6, 2.0, STEP * np.arange(1, STEPS + 1)
    angles, slopes = mg.jvp(
        lambda w: path(mg.stack([w, 0.0 * w]), np.array([a, 0.0])), (np.array(w),), (np.array(1.0),)
    )
    np.testing.assert_allclose(angles / a, np.cos(w * t), atol=1e-5)
    np.testing.assert_allclose(slopes / a, -t * np.sin(w * t), atol=1e-4)


def test_forward_and_backward_derivatives_agree_through_time():
    """The Jacobian by rows, a backward pass for each time, and by columns, a forward derivative for each parameter."""
    rows = mg.jacobian(lambda p: path(p, START))(TRUE)
    columns = [mg.jvp(lambda p: path(p, START), (TRUE,), (e,))[1] for e in np.eye(2)]
    np.testing.assert_allclose(rows, np.stack(columns, 1), rtol=1e-10, atol=1e-12)


def test_gauss_newton_finds_the_pendulum():
    observed, guess = path(TRUE, START), np.array([1.7, 0.1])
    for _ in range(8):
        miss, jacobian = path(guess, START) - observed, mg.jacobian(lambda p: path(p, START))(guess)
        guess = guess - np.linalg.lstsq(jacobian, miss)[0]
    np.testing.assert_allclose(guess, TRUE, rtol=1e-10)


def test_beside_torch():
    torch = pytest.importorskip("torch")
    w, c = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in TRUE)

    def slope(state):
        return torch.stack([state[1], -(w**2) * torch.sin(state[0]) - c * state[1]])

    state, total = torch.tensor(START), 0.0
    for i in range(STEPS):
        k1 = slope(state)
        k2 = slope(state + STEP / 2 * k1)
        k3 = slope(state + STEP / 2 * k2)
        k4 = slope(state + STEP * k3)
        state = state + STEP / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        total = total + np.cos(i) * state[0]
    total.backward()
    weights = np.cos(np.arange(STEPS))
    gradient = mg.grad(lambda p: (path(p, START) * weights).sum())(TRUE)
    np.testing.assert_allclose(gradient, [w.grad.item(), c.grad.item()], rtol=1e-10)
