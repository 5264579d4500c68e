import signal

from hypothesis import settings

# Under `nohup` a process ignores SIGHUP, and so does training, by design. The tests send that signal.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# The same examples in every run and in whichever worker a test runs: they follow from the test's own source. There are
# few of them, and no limit on the time of one, which a busy machine could break.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=30, database=None)
settings.load_profile("ci")
