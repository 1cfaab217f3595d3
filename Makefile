# Thin on purpose: every target is one line that a person could type.
PYTHON ?= python3
V := .venv/bin

.PHONY: setup demo up client lint test containers faults fuzz load soak example bench eval eval-extras audit sbom
setup: .venv/.ready
.venv/.ready: pyproject.toml client/pyproject.toml $(wildcard requirements/*.txt)
	$(PYTHON) -m venv .venv
	$(V)/python -m pip install --disable-pip-version-check -q -r requirements/all.txt
	$(V)/python -m pip install --disable-pip-version-check -q --no-deps -r requirements/no-deps.txt -r requirements/worker-no-deps.txt
	$(V)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -e . -e client
	touch $@
demo: setup
	$(V)/ddsr demo
up: setup
	$(V)/ddsr up
client: setup
	$(V)/python client/make_sync.py
lint: setup
	$(V)/ruff check . && $(V)/ruff format --check . && $(V)/mypy && $(V)/lint-imports
test: setup lint
	$(V)/python -m pytest
containers: setup
	docker/trial.sh
faults: setup
	$(V)/python -m pytest tests/faults -m faults
fuzz: setup
	DDSR_FUZZ_EXAMPLES=100 $(V)/python -m pytest tests/fuzz
	$(V)/python -m pip install --disable-pip-version-check -q -r requirements/fuzz.txt
	$(V)/python -m fuzz --seconds 300
load: setup
	$(V)/python -m load --seconds 60
soak: setup
	$(V)/python -m load --seconds 600
example: setup
	$(V)/python -m examples.face_verification
eval: setup
	$(V)/ddsr eval all --limit 60 --compared 8 --out runs/report
	$(V)/ddsr eval publish --out runs/report
eval-extras: setup
	$(V)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation -r requirements/eval-extras.txt
.venv/audit/.ready: requirements/audit.txt
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/python -m pip install --disable-pip-version-check -q -r requirements/audit.txt
	touch $@
audit: .venv/audit/.ready
	.venv/audit/bin/pip-audit --strict --disable-pip --no-deps -r requirements/services.txt -r requirements/worker.txt -r requirements/worker-no-deps.txt
sbom: .venv/audit/.ready
	mkdir -p dist
	.venv/audit/bin/cyclonedx-py requirements --output-reproducible --of JSON -o dist/sbom-services.json requirements/services.txt
	.venv/audit/bin/cyclonedx-py requirements --output-reproducible --of JSON -o dist/sbom-worker.json requirements/worker.txt
bench: setup
	$(V)/ddsr bench core --no-curve
	$(V)/ddsr bench service
	$(V)/ddsr bench workers
