"""ADBench's objectives: values and gradients that ADBench publishes, and PyTorch beside minigraph.

Srajer, Kukelova & Fitzgibbon 2018, "A benchmark of selected algorithmic differentiation tools on some problems in
computer vision and machine learning". The numbers are those of its test data and of its tests.
"""

import numpy as np
import pytest

import minigraph as mg
from benchmarks.adbench import drawn_gmm, drawn_lstm, gmm, lstm

# ---------------------------------------------------------------- a Gaussian mixture

ALPHAS = np.array([-0.649014, 1.181166, -0.758453])
MEANS = np.array([[0.092339, 0.186260], [0.345561, 0.396767], [0.538817, 0.419195]])
ICF = np.array([[0.586443, -0.851887, 0.800321], [-1.509405, 0.875874, -0.242790], [0.166813, -1.965419, -1.270071]])
X = np.array([[1.175171, 2.029160]])
OBJECTIVE = 8.07380408004975791
GRADIENT = [
    1.08662855508652456e-01, -7.41270039523898472e-01, 6.32607184015246071e-01, 1.11692576532787013e00,
    1.63333013551455269e-01, -2.19989824071193142e-02, 2.27778292254236098e-01, 1.20963025612832187e00,
    -6.06375920733956339e-02, 2.58529994051162237e00, 1.12632694524213789e-01, 3.85744309849611777e-01,
    7.35180573182305508e-02, 5.41836362715595232e00, -3.21494409677446469e-01, 1.71892309775004937e00,
    8.60091090790866875e-01, -9.94640930466322848e-01,
]  # fmt: skip


def test_the_likelihood_of_a_gaussian_mixture():
    value, grads = mg.value_and_grad(lambda p: gmm(mg, *p, X, 1.0, 0))((ALPHAS, MEANS, ICF))
    np.testing.assert_allclose(value, OBJECTIVE, rtol=1e-14)
    np.testing.assert_allclose(np.concatenate([g.ravel() for g in grads]), GRADIENT, rtol=1e-12)


def test_numpys_functions_do_as_well():
    """`np.exp` of a Tensor is minigraph's: the objective needs no other module."""
    grads = mg.grad(lambda p: gmm(np, *p, X, 1.0, 0))((ALPHAS, MEANS, ICF))
    np.testing.assert_allclose(np.concatenate([g.ravel() for g in grads]), GRADIENT, rtol=1e-12)


class Torch:
    """NumPy's names for what the objectives use of PyTorch."""

    def __init__(self, torch):
        self.exp, self.log, self.tanh, self.matmul = torch.exp, torch.log, torch.tanh, torch.matmul
        self.sum = lambda x, axis=None: x.sum() if axis is None else x.sum(axis)
        self.max = lambda x, axis: x.max(axis).values
        self.concatenate = lambda xs, axis=0: torch.cat([torch.as_tensor(x) for x in xs], axis)


@pytest.mark.parametrize("drawn", [lambda: drawn_gmm(50, 4, 3), lambda: drawn_lstm(2, 20)], ids=["gmm", "lstm"])
def test_larger_ones_beside_torch(drawn):
    torch = pytest.importorskip("torch")
    f, parameters, rest = drawn()
    leaves = [torch.tensor(p, requires_grad=True) for p in parameters]
    given = [torch.tensor(r) if isinstance(r, np.ndarray) else r for r in rest]
    expected = f(Torch(torch), *leaves, *given)
    expected.backward()
    value, grads = mg.value_and_grad(lambda p: f(mg, *p, *rest))(parameters)
    np.testing.assert_allclose(value, expected.item(), rtol=1e-12)
    for g, leaf in zip(grads, leaves, strict=True):
        np.testing.assert_allclose(g, leaf.grad.numpy(), rtol=1e-10, atol=1e-12)


# ---------------------------------------------------------------- an LSTM


def test_a_step_of_an_lstm_against_its_gradient_by_hand():
    """One layer, two places: with all parameters and the state 0, each gate is 1/2 and the candidate is 0.

    The loss is that of the output's bias alone, log(2 + B e^0) - mean of the target: its gradient in the bias is
    (sum of targets) / ((2 + B) B) - target / B, and that of all other parameters is 0.
    """
    b, then = 3, np.array([1.0, 0.0, 1.0])
    sequence = np.array([[0.0, 1.0, 0.0], then])
    zeros = np.zeros((2, 4 * b)), np.zeros((3, b))
    value, (main, extra) = mg.value_and_grad(lambda p: lstm(mg, *p, np.zeros((2, b)), sequence))(zeros)
    np.testing.assert_allclose(value, then.sum() * np.log(2 + b) / b, rtol=1e-14)
    np.testing.assert_allclose(extra[2], then.sum() / ((2 + b) * b) - then / b, rtol=1e-14)
    assert not main.any() and not extra[:2].any()


# ---------------------------------------------------------------- bundle adjustment

CAMERA = np.array([
    1.797201, 0.590697, -0.635786, 90.859550, 29.361415, 28.777534, 211.628116, -0.284531, -14.762924, 0.058931,
    0.069976,
])  # fmt: skip
POINT, WEIGHT = np.array([4.173048, 5.586898, 1.403869]), np.array(0.417022)
FEATURE = np.array([-525.672849, 161.811929])
# The rows of the Jacobian of the two errors in the camera (11), the point (3) and the weight.
JACOBIAN = np.array([
    [2.28877202208246757e+02, 6.34574811495545418e+02, -7.82222866259340549e+02, 2.42892615607159668e+00,
     -1.17828079628011313e+01, 2.54169312487743460e+00, -1.03657084958518086e+00, 4.17022e-01, 0.0,
     -3.50739521096005205e+02, -9.12107773668008576e+02, -2.42892615607159668e+00, 1.17828079628011313e+01,
     -2.54169312487743460e+00, -6.45167039712987389e-01],
    [-1.20542435994996879e+02, -3.85673240766460424e+02, 9.75476291403326456e+01, -1.78372108529576567e+00,
     4.15466799433126077e+00, 2.04025718029898906e+00, 3.49176397433145880e-01, 0.0, 4.17022e-01,
     1.18149147704414503e+02, 3.07250108960343255e+02, 1.78372108529576567e+00, -4.15466799433126077e+00,
     -2.04025718029898906e+00, 6.23335921553064054e-01],
])  # fmt: skip


def reprojection(camera, point, weight):
    """The weighted error of a point in an image: rotation by a vector (Rodrigues), projection, radial distortion."""
    turn, centre, focal, offset, radial = camera[:3], camera[3:6], camera[6], camera[7:9], camera[9:]
    angle = mg.norm(turn)
    axis, x = turn / angle, point - centre
    x = x * mg.cos(angle) + mg.cross(axis, x) * mg.sin(angle) + axis * mg.dot(axis, x) * (1 - mg.cos(angle))
    seen = x[:2] / x[2]
    r2 = mg.sum(seen * seen)
    return weight * (seen * (1 + radial[0] * r2 + radial[1] * r2 * r2) * focal + offset - FEATURE)


def test_the_jacobian_of_bundle_adjustment():
    errors = reprojection(CAMERA, POINT, WEIGHT)
    np.testing.assert_allclose(errors, [-2.69048849235189402e-01, 2.59944792677901881e-01], rtol=1e-10)
    blocks = mg.jacobian(reprojection, (0, 1, 2))(CAMERA, POINT, WEIGHT)
    np.testing.assert_allclose(np.concatenate([b.reshape(2, -1) for b in blocks], 1), JACOBIAN, rtol=1e-10)
    np.testing.assert_allclose(mg.grad(lambda w: 1 - w * w)(WEIGHT), -8.34044e-01)
