from hypothesis import settings

# The same examples on every run, few of them, and no limit on time that a busy machine could break.
settings.register_profile("ci", derandomize=True, deadline=None, max_examples=30, database=None)
settings.load_profile("ci")
