"""Where tests are: what minigraph/ops/reduce.py promises is tested in tests/ops/test_reduce.py, and so on."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = [p.relative_to(ROOT / "minigraph") for p in sorted(ROOT.glob("minigraph/**/*.py")) if p.name != "__init__.py"]
TESTS = [p.relative_to(ROOT / "tests") for p in sorted(ROOT.glob("tests/**/test_*.py"))]

# A module that has no test file of its own -> the test file that stands for it. Say why.
ELSEWHERE: dict[str, str] = {}

# A test file that mirrors no module of the package -> what it tests.
OF_MORE_THAN_A_MODULE = {
    "ops/test_table.py": "every operation, by its row of tests/ops/table.py",
    "ops/test_axes.py": "every operation with an axis, by every spelling of it",
    "ops/test_broadcasting.py": "every operation that broadcasts, beside operands broadcast beforehand",
    "ops/test_float16.py": "every operation in float16, beside float64",
    "ops/test_extremes.py": "every rule, with inputs near the ends of float16 and float32",
    "ops/test_kept.py": "every operation, whose arguments change before the backward pass",
    "ops/test_promotion.py": "every operation of several operands, by their dtypes",
    "ops/test_mutations.py": "the table itself: each broken rule fails its row",
    "problems/test_adbench.py": "ADBench's objectives, by the numbers that it publishes",
    "problems/test_rosenbrock.py": "a Hessian by its closed form",
    "problems/test_kalman.py": "a likelihood computed in two ways",
    "problems/test_black_scholes.py": "derivatives to third order by their closed forms",
    "problems/test_pendulum.py": "gradients through the steps of an ODE",
    "problems/test_logistic.py": "gradient and Hessian of logistic regression by their closed forms",
    "problems/test_eigenvalues.py": "eigenvalues by perturbation theory",
    "problems/test_low_rank.py": "losses by singular values",
    "test_interface.py": "the names of the package, and what help and dir show",
    "test_benchmarks.py": "benchmarks/",
    "test_typing.py": "the types of the whole interface, by two type checkers",
    "test_docs.py": "the code in README.md and docs/",
    "test_layering.py": "the imports between all modules",
    "test_layout.py": "the places of all tests",
    "test_models.py": "models/",
    "test_text_models.py": "models/transformer.py and models/ngram.py",
    "test_train_cifar.py": "train_cifar.py",
    "test_train_text.py": "train_text.py",
    "test_your_own_model.py": "the script of docs/your-own-model.md",
}


def mirrored(module):
    return module.with_name(f"test_{module.name}")


MIRRORED = {mirrored(module) for module in MODULES}


@pytest.mark.parametrize("module", MODULES, ids=Path.as_posix)
def test_a_module_has_its_test_file(module):
    expected = Path(ELSEWHERE.get(module.as_posix(), mirrored(module)))
    assert expected in TESTS, f"tests/{expected} is missing"


@pytest.mark.parametrize("test", TESTS, ids=Path.as_posix)
def test_a_test_file_has_its_module(test):
    listed = test.as_posix() in OF_MORE_THAN_A_MODULE
    assert (test in MIRRORED) != listed, "it should mirror a module, or be listed with what it tests, and not both"
