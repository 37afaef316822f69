# make demo    a portrait and a voice become output/demo.mp4
# make test    the tests        make lint    ruff and mypy
# make serve   ComfyUI with these nodes, on the CPU, for a person who has none: http://127.0.0.1:8188
#
# Each does its own set-up in .venv the first time. Another interpreter, another torch build (for instance one for CUDA,
# or a smaller one for the CPU alone):  make demo PYTHON=python3.12 TORCH="torch --index-url https://..."

PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH ?= $(shell grep '^torch==' constraints.txt)
VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check

.PHONY: demo test lint serve clean

demo: $(VENV)/installed
	$(RUN) -m emo_core animate --output output/demo.mp4 --overwrite

# In order: by size, which is the default, the longest test of all would come last and alone.
test: $(VENV)/installed-test
	$(RUN) -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder

# nodes/ imports the package from above, as the host does: mypy sees it through a link with a name.
lint: $(VENV)/installed-test
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	mkdir -p .mypy_cache/pack && ln -sfn ../.. .mypy_cache/pack/comfyui_emo
	cd .mypy_cache/pack && ../../$(RUN) -m mypy --config-file ../../pyproject.toml --cache-dir .. -p comfyui_emo.nodes

serve: $(VENV)/installed
	$(RUN) tests/host/serve.py

# torch comes first and alone: whatever build is there then satisfies what the other packages ask for.
$(VENV)/installed: requirements.txt constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH)
	$(PIP) install --quiet --constraint constraints.txt --requirement requirements.txt
	touch $@

$(VENV)/installed-test: $(VENV)/installed requirements-test.txt
	$(PIP) install --quiet --constraint constraints.txt --requirement requirements-test.txt
	touch $@

clean:
	rm -rf $(VENV) output
