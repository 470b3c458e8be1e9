# Runs `wstest` from a folder that pip filled with --target (CPython 2.7): wstest.py FOLDER ARGUMENTS...
# A folder on PYTHONPATH would not do, because the .pth file of the zope namespace has to be read.
import site
import sys

folder = sys.argv.pop(1)
sys.path.insert(0, folder)
site.addsitedir(folder)

from autobahntestsuite import wstest  # noqa: E402

wstest.run()
