"""The executor on real ranks, each with a limit of its time; and what a process knows that has no ranks."""

import sys

import pytest

from minigraph.parallel import mpi
from tests.mpiexec import mpiexec, needs_mpi


@needs_mpi
@pytest.mark.parametrize(
    "program, ranks",
    [("same_bits", 1), ("same_bits", 2), ("same_bits", 3), ("same_bits", 4), ("dtypes", 3), ("runs_and_reduces", 3),
     ("errors", 3)],
)  # fmt: skip
def test_ranks(program, ranks):
    """The programs of ranks.py, which say what they hold; the first is that of the same bits as one process."""
    ended = mpiexec(ranks, "tests.parallel.ranks", program)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("is done") == ranks


@pytest.fixture
def alone(monkeypatch):
    for name in (*mpi.RANK_VARIABLES, *mpi.SIZE_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_a_process_that_no_launcher_has_started(alone):
    alone.setitem(sys.modules, "mpi4py", None)
    alone.setitem(sys.modules, "mpi4py.MPI", None)  # it would be an error to import it
    assert mpi.launched() is None and mpi.world() is None


@pytest.mark.parametrize("name", mpi.RANK_VARIABLES)
def test_a_launcher_without_mpi4py(name, alone):
    alone.setenv(name, "3")
    alone.setitem(sys.modules, "mpi4py", None)
    alone.setitem(sys.modules, "mpi4py.MPI", None)
    assert mpi.launched() == 3
    with pytest.raises(ModuleNotFoundError, match=r"mpi4py, which is missing: pip install 'minigraph\[mpi\]'"):
        mpi.world()


class World:
    size = 1


def test_a_launcher_of_another_mpi(alone):
    other = type(sys)("mpi4py.MPI")
    other.COMM_WORLD, other.Get_library_version = World, lambda: "Some MPI 4\nof today"
    alone.setitem(sys.modules, "mpi4py", type(sys)("mpi4py"))
    alone.setitem(sys.modules, "mpi4py.MPI", other)
    alone.setenv("OMPI_COMM_WORLD_RANK", "0")
    assert mpi.world() is None  # a single rank is a process of its own
    alone.setenv("OMPI_COMM_WORLD_SIZE", "4")
    with pytest.raises(RuntimeError, match=r"started 4 ranks, of which mpi4py sees one: .* \(Some MPI 4\)"):
        mpi.world()
