"""Settings for every test."""

from hypothesis import settings

# The suite shares two cores with engines and indexes; a slow example says nothing about the code.
settings.register_profile("wbrag", deadline=None, max_examples=50)
settings.load_profile("wbrag")

pytest_plugins = ("tests.support.fixtures", "tests.support.publishing")
