# On a machine with git, make and a python3:
#
#   make demo        the ticker on an embedded feed, which goes away once; some 10 seconds
#   make check       ruff, mypy, and the tests that open no socket; half a minute
#   make test        all tests on the Python of PYTHON, or of PY=2.7, PY=3.13, PY=pypy3; minutes;
#                    PY=3.13-compiled takes the compiled modules
#   make compiled    compiles the modules in place, half a minute; `make check` then tests them
#   make pure        removes them
#   make test-all    all tests on every Python found, pure and compiled, and the coverage;
#                    half an hour
#   make lint        ruff, bandit, and words to avoid (.ci/check_words.py)
#   make typecheck   mypy --strict; and what mypy and pyright say of programs that use lomond
#   make diagrams    the diagrams and the tables of options in docs/, drawn from the code
#   make docs        docs/ as web pages, in docs-html
#   make dist        the sdist and the wheels, built twice: the same bytes?
#   make audit       known vulnerabilities in what lomond needs, where somebody can be asked
#   make mutants     changes in lomond/protocol, each to be caught by a test; a quarter of an hour
#   make soak        connections that are broken in many ways, one by one, and 10,000 in a pool;
#                    a quarter of an hour, or POOL=--quick
#   make fuzz        any bytes to whatever reads them; 20 seconds a target, or SECONDS=300
#   make compliance  the Autobahn test suite against clients and servers; an hour
#   make faults      faults at each byte, any input, all ways to close; some minutes
#   make races       many threads on live connections, 2 minutes on each Python found
#   make shards      a fleet of shards on Ray and Redis, broken at random for ten minutes, or
#                    CHAOS='--minutes 1'; Python 3.11 and newer
#   make bench       lomond beside its peers, on every Python found; 35 minutes
#   make programs    the servers and proxies that tests start, where apt-get may install them
#   make clean       take away what these made
#
# Each makes the virtual environment it needs under .venv.

PYTHON ?= python3
LOMOND = setup.py setup.cfg pyproject.toml $(shell find lomond -name '*.py' -o -name py.typed)
PYENV_ROOT ?= $(or $(shell pyenv root 2>/dev/null),$(HOME)/.pyenv)

.PHONY: demo check compiled pure test test-all lint typecheck docs diagrams dist audit soak fuzz bench \
    compliance faults races shards mutants peers programs clean

demo: .venv/demo/ready
	.venv/demo/bin/python -m lomond.examples.btcticker --local --outage --count 12

# What to check while you work: TESTS='tests/unit/test_frame.py -x', for example.
check: TESTS = tests/unit tests/protocol tests/property
# These tests never wait.
check: PARALLEL = $(shell nproc 2>/dev/null || echo 2)
check: .venv/lint/ready .venv/check/ready
	.venv/lint/bin/ruff check .
	.venv/lint/bin/mypy
	.venv/check/bin/python -bb -m pytest -q $(call several,$(CURDIR)/.venv/check/bin/python) $(TESTS)

# To build them again always is simpler than to find out which have changed.
compiled: .venv/compiled/ready
	LOMOND_COMPILED=required .venv/compiled/bin/python setup.py --quiet build_ext --inplace

pure:
	find lomond -name '*.so' -delete

# Twice as many processes as there are cores: the tests wait for more than half of their time.
PARALLEL ?= $(shell expr $$(nproc 2>/dev/null || echo 2) \* 2)

# pyenv's own shims come later on the path: they fail for the versions that aren't selected.
TOX = PATH="$$(printf '%s:' $(PYENV_ROOT)/versions/*/bin)$$PATH" .venv/tox/bin/tox

# The name that tox.ini has for PY, or for PYTHON: py27, py313, py313-compiled, pypy3.
TESTED = $(or $(filter pypy%,$(PY)),$(PY:%=py$(subst .,,$(PY))),$(shell $(PYTHON) -c \
    'import platform, sys; pypy = platform.python_implementation() == "PyPy"; \
    print("pypy3" if pypy else "py{}{}".format(*sys.version_info))'))

test: .venv/tox/ready peers
	$(TOX) -e $(TESTED) -- $(call several,python) $(TESTS)

# pytest's options for several processes of a Python, each for some of the files. By `-n` alone
# xdist would start them without -bb.
several = --dist loadfile --tx '$(PARALLEL)*popen//python=$(1) -bb'

# One Python's tests before those of the others, of which each takes one process, and its share of
# what is tried at each byte.
test-all: test
	LOMOND_SHARE=4 TOX_SKIP_ENV='^$(TESTED)$$' $(TOX) --parallel $$(expr $(PARALLEL) \* 3 / 2)

lint: .venv/lint/ready
	.venv/lint/bin/ruff check .
	.venv/lint/bin/bandit --quiet --recursive lomond
	.venv/lint/bin/python .ci/check_words.py

typecheck: .venv/lint/ready .venv/typing/lomond
	.venv/lint/bin/mypy
	.venv/typing/bin/python tests/typing/check.py

docs: .venv/docs/ready
	.venv/docs/bin/sphinx-build --fail-on-warning --keep-going --quiet docs docs-html
	@echo 'Open docs-html/index.html.'

diagrams: .venv/check/ready
	.venv/check/bin/python .ci/draw_diagrams.py
	.venv/check/bin/python .ci/draw_options.py

dist: .venv/dist/ready
	.venv/dist/bin/python .ci/build_dist.py dist
	for wheel in dist/*-cp3*.whl; do \
	    test ! -e $$wheel || .venv/dist/bin/python .ci/check_frozen.py $$wheel || exit; done

audit: .venv/audit/ready
	rm -rf build .venv/audit/lomond
	LOMOND_COMPILED=no \
	    .venv/audit/bin/pip install --quiet --target .venv/audit/lomond '.[wsaccel,socks,zlib-ng]'
	.venv/audit/bin/python .ci/audit.py .venv/audit/lomond

# MODULES='mask frame' takes these alone; JOBS=2 two at a time.
mutants: .venv/mutants/ready
	LOMOND_COMPILED=no .venv/mutants/bin/python -bb compliance/mutants.py --jobs $(or $(JOBS),1) $(MODULES)

soak: .venv/soak/ready
	.venv/soak/bin/python compliance/soak.py
	.venv/soak/bin/python compliance/soak_pool.py $(POOL)

# Each target from its corpus on, and from what the runs before have found.
SECONDS ?= 20
fuzz: .venv/fuzz/ready
	.venv/fuzz/bin/python -m fuzz.run --seconds $(SECONDS)

# It makes its own environments, .venv/autobahn-X.Y. WITH: options, such as `WITH=--quick`.
compliance: .venv/tox/ready
	$(PYTHON) compliance/autobahn.py $(WITH)

faults: .venv/faults/ready
	LOMOND_THOROUGH=1 .venv/faults/bin/python -b -m pytest -q --timeout 900 tests/faults \
	    tests/network/test_faults.py tests/property tests/protocol/test_closing_model.py

# As in RACES='--seconds 600 --only persists' and RACED='py27 py313'.
RACED ?= py27 py36 py37 py38 py39 py310 py311 py312 py313 py314
races: .venv/tox/ready
	$(TOX) -e $$(echo $(RACED:%=%-races) | tr ' ' ,) -- $(RACES)

# `ray` and `distributed` are large: no other target installs them.
shards: .venv/shards/ready
	.venv/shards/bin/python -b -m pytest -q tests/shards tests/cli/test_shard.py
	.venv/shards/bin/python -m tests.shards.chaos $(CHAOS)

# It makes its own environments, .venv/bench-X.Y, by the virtualenv that comes with tox.
bench: .venv/tox/ready
	$(PYTHON) benchmarks/run.py

# Node's `ws`, one of the servers to test against.
peers: tests/peers/node_modules

tests/peers/node_modules: tests/peers/package.json
	@{ node --version && npm install --prefix $(@D) --no-package-lock --no-audit --no-fund \
	    && touch $@; } >/dev/null 2>&1 || echo 'No Node or no npm: the tests against ws are skipped.'

# Debian's nginx, mosquitto and so on. `make test` goes without those that aren't there.
programs:
	@.ci/install_programs

# What a user installs, for type checkers.
.venv/typing/lomond: .venv/typing/ready $(LOMOND)
	rm -rf build
	LOMOND_COMPILED=no .venv/typing/bin/pip install --quiet --no-deps --force-reinstall .
	touch $@

.venv/demo/ready: $(LOMOND)
	$(make-venv)
	rm -rf build
	LOMOND_COMPILED=no $(@D)/bin/pip install --quiet .
	touch $@

.venv/%/ready: requirements/%.txt
	$(make-venv)
	$(@D)/bin/pip install --quiet -r $<
	touch $@

define make-venv
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
    echo 'Needed: a Python 3 with venv (Debian, Ubuntu: apt install python3-venv).' >&2; exit 1; }
$(PYTHON) -m venv --clear $(@D)
@# The pip that comes with 3.6 takes packages that are too new for it.
$(@D)/bin/pip install --quiet 'pip==21.3.1; python_version < "3.7"'
endef

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export TOX_PARALLEL_NO_SPINNER = 1
# virtualenv updates the wheels that it keeps, beyond what an older Python can run.
export VIRTUALENV_OVERRIDE_APP_DATA = $(CURDIR)/.venv/app-data
export VIRTUALENV_NO_PERIODIC_UPDATE = 1

clean: pure
	rm -rf .venv .tox .fuzz build dist docs-html *.egg-info tests/peers/node_modules
